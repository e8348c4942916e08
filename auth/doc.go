// Package auth answers who is on the other end of a connection: an [Identity], which is a tenant and one of its apps.
//
// On the request path it is the step "auth" (see package server). It must never know what a command or a session is. The identity is the only way in
// which a tenant is ever named: no argument of any command can.
//
// Begin reading at [Identity] and [Authenticator].
package auth
