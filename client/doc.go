// Package client keeps web session data on a sessionserver: it opens sessions under the server's locks, reads and
// changes their values, and saves them.
//
//	c, err := client.Dial(ctx, "tls://shop:hss_…@sessions.example.com:9090/acme", client.Options{})
//	…
//	err = c.Update(ctx, id, func(v *client.Values) error {
//		v.Set("theme", "dark")
//		return nil
//	})
//
// A [Client] is made once and shared by all goroutines; it keeps a pool of connections. A [Session] is one open
// session, belongs to one goroutine, and occupies one connection until it is ended by Close, Save, Abort or Destroy.
// [Client.Update] is the way to change a session, [Client.View] the way to look at one; [Client.Load] and
// [Session.Save] are the same in two halves, for what opens a session at the beginning of a request and saves it at
// the end.
//
// A Client cannot be shared with a child process by accident: Go starts programs by fork and exec in one, and its
// sockets are closed on exec. Only a program that calls the fork system call by itself has to dial anew in the child.
//
// # Errors
//
// What the server refuses is an [*Error], to be compared with the sentinels: errors.Is(err, client.ErrLockTimeout). A
// connection that could not be made or that broke is a [*ConnError]; then, and when a context ends while the server
// is at work, the connection is closed, and the server rolls back what was not saved and releases the lock at once.
// No error and no log shows a secret or a session id.
//
// # Round trips
//
//	Ping, View, New, Open, Load           1
//	every method of a Session             1
//	Save                                  1, or 2 where a part of the changes could be refused and the rest be saved
//	Update                                Load and Save: 2 or 3
//
// It must never know more of the server than package wire says. Begin reading at [Dial] and [Client.Update]; how a
// request travels stands in conn.go, who gets which connection in pool.go.
package client
