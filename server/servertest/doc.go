// Package servertest runs a server inside a test, on a loopback port and with sessions in memory. The tests of this
// module use it, and so can tests of new commands and of programs that use the client. It also has what tests of
// servers share: a client that sends lines, a log buffer, files and certificates.
//
// Begin reading at [Start] and [Connect]. Production code must never import it.
package servertest
