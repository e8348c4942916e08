// Package audit remembers who did what: one line for each fact of the life of connections, sessions, tenants, policies and certificates, in a file,
// in syslog or on standard output. It is the last of the gates of package server and what handlers tell of their work; docs/audit.md lists the
// events.
//
// An event is written before the operation that it tells of is answered: [Log.Record] returns when its line is where it belongs, or says that it
// is not. All who record at the same time share one write, and one fsync. A sink that hangs is given up after a while: nobody waits for ever. While
// nothing can be written the log tries again by itself, and [Log.Err] tells in a nanosecond, so that a gate can refuse what could not be remembered;
// what was lost is counted, and the first line afterwards says how much.
//
// The same machinery writes the decision log, a sample of what the policies decided: [Decisions]. It is for finding out why, not for evidence, so
// that nobody waits for it.
//
// Neither may ever hold a session id, a value or a secret: there is no field for them. What strangers send stands in lines of bounded length where no
// character of theirs can end a line or a string, or hide something from whoever looks at it on a terminal.
//
// It must never know who uses it, nor where its settings came from.
//
// Begin reading at [Event] and [Log]; queue.go is the machinery, sink.go what a sink must do.
package audit
