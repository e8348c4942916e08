// Package server speaks to clients: it accepts connections, reads requests, lets the gates decide, runs commands and writes replies.
//
// The whole request path, each step with the file or package where it stands:
//
//	client
//	  │  TCP or Unix socket
//	  ▼
//	connection caps ─ PROXY header ─      listener.go, proxy.go
//	IP allowlist ─ rate of connecting
//	  ▼
//	TLS or plaintext, by the first byte   conn.go, tls.go (certificates: package certs)
//	  ▼
//	who it is before it says so           access.go (the directory of tenants: package auth)
//	  ▼
//	its turn among all tenants            turns.go
//	  ▼
//	framing: line or RESP                 package wire
//	  ▼
//	command table: which row, how many    command.go
//	arguments
//	  ▼
//	gates, in order: authenticated?       gate.go, access.go
//	allowlists, rates, serving?,          rate.go
//	session state, memory, policy,        memory.go, policy.go (decisions: package policy)
//	audit: could it be remembered?        remember.go
//	  ▼
//	handler: decode, call, reply          commands_connection.go, commands_redis.go,
//	  │                                   commands_session.go, commands_value.go
//	  ▼
//	session manager: lock, lifetimes      package session
//	  ▼
//	storage driver                        package storage
//
// On the way back, what was done or refused is remembered before it is answered (remember.go, gather.go; the log: package audit), what went
// wrong becomes a reply in one place, errors.go, and the [Observer] is told how it ended: observer.go. What is a state rather than an event is in
// stats.go. The package must never know which driver keeps the sessions, where a setting came from, or who counts what it tells.
//
// Who its tenants are is told to it by [Server.SetTenants], whole and as often as it changes: tenant.go.
//
// Begin reading at conn.serve, then [Command] for how a command is declared; docs/commands.md shows how to add one.
package server
