// Package admin is the HTTP server for operators: health and readiness, the state of the server as JSON and as a page, metrics and profiles.
//
// It knows nothing of sessions and of no other package: whoever assembles a server hands it what to show. It shows no session id and no secret, and it
// changes nothing: there is no request but GET and HEAD.
//
// Every request passes guard (guard.go), which is where to begin reading: who may come, and why a web page in an operator's browser may not. Health
// and readiness alone are for everybody who can connect, since orchestrators have no token.
package admin
