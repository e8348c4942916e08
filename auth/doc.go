// Package auth identifies the client of a connection: an [Identity] is a tenant and one of its apps.
//
// On the path of a new connection it is behind conn.become (see package server). A [Directory] of all tenants turns a
// secret or a client certificate into a [Grant], and decides from which addresses the identity may connect. It must
// never depend on commands or sessions, nor on where the tenants were read. The identity is the only way to name a
// tenant: no argument of a command can.
//
// Only hashes of secrets are kept. Everything that is not configured is refused: an empty allowlist admits no client,
// and a certificate name that two apps claim identifies neither of them.
//
// Begin reading at [Directory.Secret].
package auth
