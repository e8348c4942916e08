// Package wire is the grammar that server and clients share. It defines how requests and replies are encoded on a
// connection, in two framings: lines, which a person can type, and RESP, which every Redis client library uses.
// PROTOCOL.md in this folder is the specification.
//
// On the path of a request it is the framing in transport.Next (see package server). It must never depend on the
// meaning of a command, on the client that sent it, or on sessions.
//
// Begin reading at [Reader], which decodes a [Request], and at [Encoder], which encodes a reply. A client uses
// [AppendRequest] and [ReplyReader]. Error codes are in code.go, limits on input in limits.go, and PHP's serialize()
// format in php.go.
package wire
