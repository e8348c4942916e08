// Package audit records who did what: one line for each event in the life of connections, sessions, tenants, policies
// and certificates. The lines go to a file, to syslog or to standard output. The gates and the handlers of package
// server record most events; docs/audit.md lists them.
//
// An event is written before the reply to its operation: [Log.Record] returns when the line is in the log, or an
// error. Events recorded at the same time share one write and one fsync. A sink that hangs counts as failed after a
// timeout, so that no caller waits forever. After a failure the log retries by itself. Meanwhile [Log.Err] returns
// the failure within nanoseconds, so that a gate can refuse operations that cannot be recorded. Lost events are
// counted, and the first line after a recovery reports their number.
//
// The same queue writes the decision log, a sample of the decisions of the policies: [Decisions]. It serves diagnosis
// and is not evidence, so that no caller waits for it.
//
// Neither log may ever hold a session id, a value or a secret: neither has a field for them. Text from clients is
// bounded in length. No character of it can end a line or a string, or hide text from a reader at a terminal.
//
// The package must never know its callers, nor the source of its settings.
//
// Begin reading at [Event] and [Log]. queue.go has the queue, sink.go the contract of a sink.
package audit
