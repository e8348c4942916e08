// Package servertest runs a whole server inside a test, on a loopback port and with sessions in memory. It is for the
// tests of this module, of additional commands, and of programs that use the client.
//
// Begin reading at [Start]. Production code must never import the package.
package servertest
