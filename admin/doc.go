// Package admin is the HTTP server for operators. It serves health and readiness, the state of the server as JSON and
// as a page, metrics, and profiles.
//
// It must never depend on sessions or another package: the caller passes what the pages show. It shows no session id
// and no secret, and changes nothing: it serves only GET and HEAD.
//
// Every request passes the guard, which decides about access and keeps web pages in an operator's browser out. Health
// and readiness are open to every client that can connect, since orchestrators have no token.
//
// Begin reading at guard.go.
package admin
