package client

import (
	"context"
	"slices"
	"time"

	"sessionserver/wire"
)

// Session is one open session. It occupies a connection and, except in ModeSnapshot, holds a lock. Keep it short: the
// lock is a lease, which by default another client may take over after a minute. Changes are made in the server's
// memory until Commit, Close or Save stores them. A Session is not safe for concurrent use. End it by Close, Save,
// Abort or Destroy:
//
//	s, err := c.Open(ctx, id, client.OpenOptions{})
//	if err != nil {
//		return err
//	}
//	defer s.Abort(ctx) // no effect after Close
//	…
//	return s.Close(ctx)
//
// Every method takes one round trip. A refused request leaves the session open and unchanged, with two exceptions that
// end it: ErrLockLost, and ErrNotFound for an expired session. A broken connection and a context that ends during a
// round trip also end the session, and its unsaved changes are lost. The methods of an ended session return
// ErrNoSession.
type Session struct {
	client  *Client
	conn    *conn // nil after the end of the session
	id      string
	mode    Mode
	unsaved bool // a Close without further requests would store something
	changed bool // requests other than those of Open and Save may have created or changed the session
}

// ID returns the id by which the session was opened, or the one from New or Regenerate. The id gives access to the
// session, so keep it out of logs.
func (s *Session) ID() string { return s.id }

// Mode returns the mode in which the session is open. After Commit it is ModeSnapshot.
func (s *Session) Mode() Mode { return s.mode }

// String returns a description without the id.
func (s *Session) String() string { return "sessionserver session (" + string(s.mode) + ")" }

// GoString returns the same as String.
func (s *Session) GoString() string { return s.String() }

// Get returns the value of key, and whether the key exists.
func (s *Session) Get(ctx context.Context, key string) (value string, ok bool, err error) {
	r, err := s.do(ctx, "$_", "get", key)
	return string(r.Bytes), err == nil && !r.IsNull(), err
}

// GetMany returns the values of the given keys, without those that do not exist.
func (s *Session) GetMany(ctx context.Context, keys ...string) (map[string]string, error) {
	replies, err := s.doAll(ctx, "get", "$_*", requests("get", keys))
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(keys))
	for part := range slices.Chunk(keys, argsMax) {
		items := replies[0].Items
		if len(part) == 1 {
			items = replies[:1] // the reply for one key is its value, not a list
		}
		replies = replies[1:]
		for i, r := range items[:min(len(items), len(part))] {
			if !r.IsNull() {
				values[part[i]] = string(r.Bytes)
			}
		}
	}
	return values, nil
}

// Put sets the value of key. The error may be ErrReadOnly, ErrBadKey, ErrTooLarge or ErrDenied.
func (s *Session) Put(ctx context.Context, key, value string) error {
	_, err := s.do(ctx, "+", "put", key, value)
	return err
}

// PutMany sets several values. Up to 1,024 values are set atomically.
func (s *Session) PutMany(ctx context.Context, values map[string]string) error {
	_, err := s.doAll(ctx, "put", "+", requests("put", pairs(values)))
	return err
}

// Remove removes keys and returns the number of those that existed.
func (s *Session) Remove(ctx context.Context, keys ...string) (int, error) {
	replies, err := s.doAll(ctx, "remove", ":", requests("remove", keys))
	n := 0
	for _, r := range replies {
		n += int(r.Int)
	}
	return n, err
}

// Exists reports whether the key exists.
func (s *Session) Exists(ctx context.Context, key string) (bool, error) {
	r, err := s.do(ctx, ":", "exists", key)
	return r.Int == 1, err
}

// Keys returns the keys in the order of their creation.
func (s *Session) Keys(ctx context.Context) ([]string, error) {
	r, err := s.do(ctx, "*", "keys")
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(r.Items))
	for i, key := range r.Items {
		keys[i] = string(key.Bytes)
	}
	return keys, nil
}

// All returns all values. They can be changed and passed to Save.
func (s *Session) All(ctx context.Context) (*Values, error) {
	r, err := s.do(ctx, "%*", "get_all")
	if err != nil {
		return nil, err
	}
	return newValues(r.Items), nil
}

// ReplaceAll replaces all values and their lifetimes by the given values. Values that the app may not write are kept.
// Up to 1,024 values are set atomically.
func (s *Session) ReplaceAll(ctx context.Context, values map[string]string) error {
	args := requests("put", pairs(values))
	if len(args) == 0 {
		args = [][]string{{"put"}}
	}
	args[0][0] = "put_all"
	_, err := s.doAll(ctx, "put_all", "+", args)
	return err
}

// Expire sets a lifetime for the value of key, in whole seconds from now, or removes it if d is 0. The error may be
// ErrNoKey.
func (s *Session) Expire(ctx context.Context, key string, d time.Duration) error {
	_, err := s.do(ctx, "+", "expire", key, seconds(d))
	return err
}

// Lifetime returns the idle time after which the session expires.
func (s *Session) Lifetime(ctx context.Context) (time.Duration, error) {
	r, err := s.do(ctx, ":", "lifetime")
	return time.Duration(r.Int) * time.Second, err
}

// SetLifetime sets the idle time after which the session expires, in whole seconds.
func (s *Session) SetLifetime(ctx context.Context, d time.Duration) error {
	_, err := s.do(ctx, "+", "lifetime", seconds(d))
	return err
}

// Stat holds the facts about a session, unsaved changes included.
type Stat struct {
	Created  time.Time
	LastUsed time.Time // accurate to a tenth of the lifetime
	Expires  time.Time // unless the session is used before
	Version  int64     // number of saves
	Keys     int
	Bytes    int64 // of all keys and values
}

// Stat returns the facts about the session.
func (s *Session) Stat(ctx context.Context) (Stat, error) {
	r, err := s.do(ctx, "%*", "stat")
	if err != nil {
		return Stat{}, err
	}
	var st Stat
	for i := 0; i+1 < len(r.Items); i += 2 {
		switch n := r.Items[i+1].Int; string(r.Items[i].Bytes) {
		case "created":
			st.Created = time.Unix(n, 0)
		case "last_used":
			st.LastUsed = time.Unix(n, 0)
		case "expires":
			st.Expires = time.Unix(n, 0)
		case "version":
			st.Version = n
		case "keys":
			st.Keys = int(n)
		case "bytes":
			st.Bytes = n
		}
	}
	return st, nil
}

// Regenerate moves the session to a new id and returns it. The move is effective at once for all clients. Call it when
// a user logs in or out. The old id remains valid for the grace period, in whole seconds; after that, or at once for 0,
// the server refuses it forever.
func (s *Session) Regenerate(ctx context.Context, grace time.Duration) (id string, err error) {
	r, err := s.do(ctx, "$", "regenerate_id", seconds(grace))
	if err != nil {
		return "", err
	}
	s.id = string(r.Bytes)
	return s.id, nil
}

// Commit saves the session, releases the lock and leaves the session open for reading.
func (s *Session) Commit(ctx context.Context) error {
	_, err := s.do(ctx, "+", "commit")
	if err == nil {
		s.mode, s.unsaved = ModeSnapshot, false
	}
	return err
}

// Close saves the session if it is open for writing, and ends it. After a refusal, such as ErrQuota or ErrRateLimited,
// the session is still open: call Close again, or Abort.
func (s *Session) Close(ctx context.Context) error {
	command := "close"
	if !s.mode.writes() {
		command = "abort" // the same for a reader, and allowed without the right to write
	}
	_, err := s.do(ctx, "+", command)
	if err == nil {
		s.end()
	}
	return err
}

// Abort ends the session without saving. It cannot fail: if the server refuses, or ctx has ended, it closes the
// connection, which has the same effect. Abort has no effect on an ended session.
func (s *Session) Abort(ctx context.Context) {
	if s.conn == nil {
		return
	}
	if replies, err := s.pipeline(ctx, "abort", "+", []string{"abort"}); s.conn != nil {
		if err != nil || replies[0].Err != nil {
			s.conn.cut()
		}
		s.end()
	}
}

// Destroy removes the session and ends it. The server refuses its id from then on, so that a late request cannot
// recreate the session. If the connection breaks, Destroy removes the session over another one; removing it twice has
// no further effect.
func (s *Session) Destroy(ctx context.Context) error {
	writes := s.mode.writes()
	_, err := s.do(ctx, "+", "destroy")
	if err == nil {
		s.end()
	}
	if writes && connectionLost(err) {
		return s.client.destroy(ctx, s.id)
	}
	return err
}

// Do runs a command that a custom server adds to the protocol (docs/commands.md). The result is nil for null, a string,
// an int64 or a []any of these; a map is a list of keys and values in turn. The standard commands have methods of their
// own.
func (s *Session) Do(ctx context.Context, command string, args ...string) (any, error) {
	r, err := s.do(ctx, "", append([]string{command}, args...)...)
	if err != nil {
		return nil, err
	}
	return native(r), nil
}

// native converts a reply into the result of Do.
func native(r wire.Reply) any {
	switch r.Kind {
	case '_':
		return nil
	case ':':
		return r.Int
	case '+', '$':
		return string(r.Bytes)
	case '-':
		return r.Err
	}
	items := make([]any, len(r.Items))
	for i, item := range r.Items {
		items[i] = native(item)
	}
	return items
}

// do sends one request and returns its reply, which must be of one of the given kinds. Empty kinds allow all.
func (s *Session) do(ctx context.Context, kinds string, request ...string) (wire.Reply, error) {
	replies, err := s.doAll(ctx, request[0], kinds, [][]string{request})
	if err != nil {
		return wire.Reply{}, err
	}
	return replies[0], nil
}

// doAll sends requests in one round trip. The first error reply is returned as an error.
func (s *Session) doAll(ctx context.Context, op, kinds string, requests [][]string) ([]wire.Reply, error) {
	replies, err := s.pipeline(ctx, op, kinds, requests...)
	if err != nil {
		return nil, err
	}
	if e := firstError(replies); e != nil {
		return nil, s.opError(op, e)
	}
	return replies, nil
}

// pipeline sends requests in one round trip and returns all replies, errors included.
func (s *Session) pipeline(ctx context.Context, op, kinds string, requests ...[]string) ([]wire.Reply, error) {
	if s.conn == nil {
		return nil, opError(op, errEnded)
	}
	if len(requests) == 0 {
		return nil, nil
	}
	for _, request := range requests {
		s.conn.queue(request...)
		switch request[0] {
		case "get", "exists", "keys", "get_all", "stat", "close", "abort":
		default:
			s.unsaved, s.changed = s.mode.writes(), true
		}
	}
	replies, err := s.conn.exchange(ctx, op, []string{kinds}, 0)
	if s.conn.broken {
		s.end()
	}
	return replies, err
}

// opError returns an error reply with its operation, and ends the session if the reply means its end.
func (s *Session) opError(op string, e *Error) error {
	switch e.Code {
	case wire.LockLost, wire.NotFound, wire.NoSession:
		s.end()
	}
	return opError(op, e)
}

// end returns the connection to the pool.
func (s *Session) end() {
	if s.conn != nil {
		s.client.pool.put(s.conn)
		s.conn = nil
	}
}
