// Package servertest runs a whole server inside a test, on a loopback port and with sessions in memory: for the tests of this module,
// of commands that others add, and of programs that use the client.
//
// Begin reading at [Start]. It must never be imported by what runs in production.
package servertest
