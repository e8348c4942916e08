// Package server serves sessions to clients: it accepts connections, reads requests, checks them at the gates, runs
// commands and sends replies.
//
// A connection consists of four objects. Its transport is the socket with its buffers and deadlines. Its caller is the
// client: address, identity and rules. Its account is what it uses: turns, memory and charged bytes. The connection
// itself is the loop over requests, the open session, the error budget and the reason for its end.
//
// # A new connection
//
//	client
//	  │  TCP or Unix socket
//	  ▼
//	Server.accept        caps, allowlist, rate of new connections       listener.go
//	  │                  PROXY header of a trusted balancer             proxy.go
//	  ▼
//	conn.begin           TLS or plaintext, by the first byte            conn.go
//	  │                  handshake (certificates: package certs)        tls.go
//	  ▼
//	conn.become          identity by certificate or listener            login.go, caller.go (package auth)
//	  ▼
//	conn.loop
//
// # A request: put
//
//	conn.loop ──▶ transport.Next     read and frame the request         transport.go (framing: package wire)
//	  │
//	  ▼
//	conn.handle ─▶ account.begin     wait for a turn among all tenants  turns.go
//	  │
//	  ├──▶ table.lookup              find the command's row             command.go
//	  ├──▶ conn.run                  lock still held? number of arguments
//	  ├──▶ Call.admit                gates, from top to bottom          gate.go
//	  │      authenticated, allowlist, rates, serving,
//	  │      session state, memory, policy, audit
//	  ├──▶ runPut                    handler: decode, call, reply       commands_value.go
//	  │      └──▶ Session.Put        change the open session, in memory session/session.go
//	  └──▶ conn.settle               record, log, observe, reply        settle.go
//	  │
//	  ▼
//	transport.flush                  before the next read blocks        transport.go
//
// The values are stored when the client sends close or commit. Such a command waits, so conn.run calls it by way of
// account.save (turns.go):
//
//	runClose ─▶ Session.Close ─▶ storage.Store.Put                      commands_session.go, session/session.go
//
// Package app decides which stores lie behind that interface (app/drivers.go). account.go holds what a connection uses
// of the server: memory there, turns in turns.go, charges in rate.go.
//
// The rows and handlers of the commands are grouped by family: commands_session.go, commands_value.go,
// commands_connection.go and commands_redis.go. A command table consists of families; conn.table chooses the table of a
// connection. A command that waits for a lock or a rate does so in wait.go.
//
// A refusal is an error of any step (refusal.go). It has the reply, the gate, the event for the audit log (record.go;
// package audit) and whether the connection ends. The [Observer] gets the outcome of each request. [Server.Stats]
// returns the state of the server.
//
// [Server.SetTenants] replaces all tenants at once. The package depends neither on the driver that stores the sessions,
// nor on the source of a setting, nor on the receiver of the events that an observer gets.
//
// Begin reading at Server.accept, then [Command]; docs/commands.md shows how to add a command.
//
// # Locks
//
// A connection belongs to one goroutine. Server.mu guards the set of connections; caller.mu and transport.mu guard the
// little that other goroutines use of a connection. They are taken in the order Server.setting, Server.mu, caller.mu or
// transport.mu, addressBook.mu. No other lock is taken while the mutex of turns is held.
package server
