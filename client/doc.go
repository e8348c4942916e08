// Package client stores web session data on a sessionserver. It opens sessions under the server's locks, reads and
// changes their values, and saves them.
//
//	c, err := client.Dial(ctx, "tls://shop:hss_…@sessions.example.com:9090/acme", client.Options{})
//	…
//	err = c.Update(ctx, id, func(v *client.Values) error {
//		v.Set("theme", "dark")
//		return nil
//	})
//
// A program makes one [Client] and shares it between all goroutines; the Client holds a pool of connections. A
// [Session] is one open session. It belongs to one goroutine and occupies one connection until Close, Save, Abort or
// Destroy ends it.
//
// [Client.Update] changes a session, and [Client.View] reads one without a lock. [Client.Load] and [Session.Save] are
// the two halves of Update, for a handler that opens the session when a request begins and saves it when the request
// ends.
//
// Child processes do not inherit the connections: Go combines fork and exec, and exec closes the sockets. A program
// that makes the fork system call itself must call Dial again in the child.
//
// # Errors
//
// A refusal by the server is an [*Error]. Compare it with the sentinels of this package:
// errors.Is(err, client.ErrLockTimeout). A [*ConnError] reports a connection that failed. After a ConnError, and after
// a context that ended during a round trip, the connection is closed. The server then rolls back unsaved changes and
// releases the lock at once. No error and no log entry contains a secret or a session id.
//
// # Round trips
//
//	Ping, View, New, Open, Load      1
//	each method of a Session         1
//	Save                             1; 2 if the server could refuse one part of the changes and save another
//	Update                           2 or 3: Load and Save
//
// # Where to begin
//
// The package depends on package wire and on nothing else of the server. Begin reading at [Dial] and [Client.Update].
// The file conn.go holds the path of a request, and pool.go the assignment of connections.
package client
