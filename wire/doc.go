// Package wire is the grammar that server and clients share: how requests and replies stand as bytes on a connection, in line
// framing (anyone can type it) and in RESP framing (every Redis client library speaks it). PROTOCOL.md beside this file is the
// specification.
//
// On the request path it is the step "framing" (see package server). It must never know what a command means, who sent it, or
// that sessions exist.
//
// Begin reading at [Reader], which turns bytes into a [Request], and at [Encoder], which turns an answer into bytes. [AppendRequest] and
// [ReplyReader] are the other end of the same connection. Error codes stand in code.go, the bounds on what is read in limits.go.
package wire
