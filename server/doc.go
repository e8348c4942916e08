// Package server speaks to clients: it accepts connections, reads requests, lets the gates decide, runs commands and writes replies.
//
// The whole request path, each step with the file or package where it stands:
//
//	client
//	  │  TCP or Unix socket
//	  ▼
//	connection caps ─ IP allowlist        listener.go
//	  ▼
//	TLS or plaintext, by the first byte   conn.go
//	  ▼
//	framing: line or RESP                 package wire
//	  ▼
//	command table: which row, how many    command.go
//	arguments
//	  ▼
//	gates, in order: authenticated?       gate.go (who it is: package auth)
//	  ▼
//	handler: decode, call, reply          commands_connection.go, commands_redis.go,
//	  │                                   commands_session.go, commands_value.go
//	  ▼
//	session manager: lock, lifetimes      package session
//	  ▼
//	storage driver                        package storage
//
// What goes wrong on the way becomes a reply in one place, errors.go. It must never know which driver keeps the sessions, where a
// setting came from, or who counts what it tells its [Observer].
//
// Begin reading at conn.serve, then [Command] for how a command is declared; docs/commands.md shows how to add one.
package server
