// Package auth answers who is on the other end of a connection: an [Identity], which is a tenant and one of its apps.
//
// On the request path it is the step "auth" (see package server): a [Directory] of all tenants turns a secret or a client certificate into a
// [Grant], and says from where its holder may come. It must never know what a command or a session is, nor where the tenants were read
// from. The identity is the only way in which a tenant is ever named: no argument of any command can.
//
// Secrets are kept as hashes only. What is not written down is refused: an empty allowlist admits nobody, and a certificate's name that two
// apps claim is nobody's.
//
// Begin reading at [Directory.Secret].
package auth
