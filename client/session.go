package client

import (
	"context"
	"slices"
	"time"

	"sessionserver/wire"
)

// Session is one open session. It occupies a connection and, but for ModeSnapshot, holds a lock, so it should be
// short: the server lets a lock be taken away after a minute. Changes are made in the server's memory; only Commit,
// Close and Save keep them. It is not for concurrent use, and it must be ended by Close, Save, Abort or Destroy:
//
//	s, err := c.Open(ctx, id, client.OpenOptions{})
//	if err != nil {
//		return err
//	}
//	defer s.Abort(ctx) // does nothing after Close
//	…
//	return s.Close(ctx)
//
// Every method takes one round trip. What is refused leaves the session open and as it was, with these exceptions,
// which end it: ErrLockLost, and ErrNotFound when its lifetime is over. It also ends, with what was not saved undone,
// when its connection breaks, or the context ends during a round trip. A session that has ended answers ErrNoSession.
type Session struct {
	client  *Client
	conn    *conn // nil once it has ended
	id      string
	mode    Mode
	unsaved bool // a Close with nothing more would store something
	changed bool // it was made, or something was done to it, by more than Open and Save
}

// ID is the session's id: the one it was opened by, or that New or Regenerate have made. Who knows it has the
// session, so keep it out of logs.
func (s *Session) ID() string { return s.id }

// Mode is the mode in which the session is open: after Commit, ModeSnapshot.
func (s *Session) Mode() Mode { return s.mode }

// String does not show the id.
func (s *Session) String() string { return "sessionserver session (" + string(s.mode) + ")" }

// GoString is String.
func (s *Session) GoString() string { return s.String() }

// Get returns the value of key, and whether there is one.
func (s *Session) Get(ctx context.Context, key string) (value string, ok bool, err error) {
	r, err := s.do(ctx, "$_", "get", key)
	return string(r.Bytes), err == nil && !r.IsNull(), err
}

// GetMany returns the values of those keys that there are.
func (s *Session) GetMany(ctx context.Context, keys ...string) (map[string]string, error) {
	replies, err := s.all(ctx, "get", "$_*", requests("get", keys))
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(keys))
	for part := range slices.Chunk(keys, argsMax) {
		items := replies[0].Items
		if len(part) == 1 {
			items = replies[:1] // one key is answered with its value alone
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

// Put sets the value of key. It answers ErrReadOnly, ErrBadKey, ErrTooLarge, ErrDenied.
func (s *Session) Put(ctx context.Context, key, value string) error {
	_, err := s.do(ctx, "+", "put", key, value)
	return err
}

// PutMany sets several values. Up to 1,024 are set all or none.
func (s *Session) PutMany(ctx context.Context, values map[string]string) error {
	_, err := s.all(ctx, "put", "+", requests("put", pairs(values)))
	return err
}

// Remove removes keys and returns how many of them there were.
func (s *Session) Remove(ctx context.Context, keys ...string) (int, error) {
	replies, err := s.all(ctx, "remove", ":", requests("remove", keys))
	n := 0
	for _, r := range replies {
		n += int(r.Int)
	}
	return n, err
}

// Exists reports whether there is such a key.
func (s *Session) Exists(ctx context.Context, key string) (bool, error) {
	r, err := s.do(ctx, ":", "exists", key)
	return r.Int == 1, err
}

// Keys returns the keys in the order in which they came.
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

// All returns all values; changed, they can be given to Save.
func (s *Session) All(ctx context.Context) (*Values, error) {
	r, err := s.do(ctx, "%*", "get_all")
	if err != nil {
		return nil, err
	}
	return newValues(r.Items), nil
}

// ReplaceAll makes values all that there is; those which the app may not write stay. Up to 1,024 are replaced all or
// none. Lifetimes of single values are gone with them.
func (s *Session) ReplaceAll(ctx context.Context, values map[string]string) error {
	args := requests("put", pairs(values))
	if len(args) == 0 {
		args = [][]string{{"put"}}
	}
	args[0][0] = "put_all"
	_, err := s.all(ctx, "put_all", "+", args)
	return err
}

// Expire gives the value of key a lifetime of its own from now on, in whole seconds, or takes it away again if d is
// 0. It answers ErrNoKey.
func (s *Session) Expire(ctx context.Context, key string, d time.Duration) error {
	_, err := s.do(ctx, "+", "expire", key, seconds(d))
	return err
}

// Lifetime is how long the session lives unused.
func (s *Session) Lifetime(ctx context.Context) (time.Duration, error) {
	r, err := s.do(ctx, ":", "lifetime")
	return time.Duration(r.Int) * time.Second, err
}

// SetLifetime gives the session an idle lifetime of its own, in whole seconds.
func (s *Session) SetLifetime(ctx context.Context, d time.Duration) error {
	_, err := s.do(ctx, "+", "lifetime", seconds(d))
	return err
}

// Stat describes a session, with what is not saved yet.
type Stat struct {
	Created  time.Time
	LastUsed time.Time // to a tenth of the lifetime
	Expires  time.Time // if it is not used again
	Version  int64     // how often it was saved
	Keys     int
	Bytes    int64 // of all keys and values
}

// Stat describes the session.
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

// Regenerate moves the session to a new id, which it returns, at once and for everybody: do so when a user logs in or
// out. For the grace period, in whole seconds, the old id leads to the session; then, with 0 at once, it is refused
// for good.
func (s *Session) Regenerate(ctx context.Context, grace time.Duration) (id string, err error) {
	r, err := s.do(ctx, "$", "regenerate_id", seconds(grace))
	if err != nil {
		return "", err
	}
	s.id = string(r.Bytes)
	return s.id, nil
}

// Commit saves, releases the lock, and leaves the session open for reading.
func (s *Session) Commit(ctx context.Context) error {
	_, err := s.do(ctx, "+", "commit")
	if err == nil {
		s.mode, s.unsaved = ModeSnapshot, false
	}
	return err
}

// Close saves, if the session is open for writing, and ends it. What is refused, for want of room or because of a
// limit of rate, can be tried again, or given up by Abort.
func (s *Session) Close(ctx context.Context) error {
	command := "close"
	if !s.mode.writes() {
		command = "abort" // the same to a reader, and allowed to those who may not write
	}
	_, err := s.do(ctx, "+", command)
	if err == nil {
		s.end()
	}
	return err
}

// Abort ends the session without saving. It cannot fail: where the server does not let go of the session, or ctx has
// ended, the connection is closed, which has the same effect. After the end of the session it does nothing.
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

// Destroy removes the session and ends it. Its id is refused from then on, so that nobody who is late can bring it
// back. If the connection breaks, the session is removed over another one: to do so twice does no harm.
func (s *Session) Destroy(ctx context.Context) error {
	writes := s.mode.writes()
	_, err := s.do(ctx, "+", "destroy")
	if err == nil {
		s.end()
	}
	if writes && lost(err) {
		return s.client.destroy(ctx, s.id)
	}
	return err
}

// Do has a command answered that somebody has added to the server (docs/commands.md): nil for null, a string, an
// int64, or []any of these; a map is its keys and values in turn. For what the server can do by itself there are
// methods.
func (s *Session) Do(ctx context.Context, command string, args ...string) (any, error) {
	r, err := s.do(ctx, "", append([]string{command}, args...)...)
	if err != nil {
		return nil, err
	}
	return native(r), nil
}

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

// do has one request answered, with a reply of one of these kinds, or any if there are none.
func (s *Session) do(ctx context.Context, kinds string, request ...string) (wire.Reply, error) {
	replies, err := s.all(ctx, request[0], kinds, [][]string{request})
	if err != nil {
		return wire.Reply{}, err
	}
	return replies[0], nil
}

// all has requests answered in one round trip, and returns the first refusal as an error.
func (s *Session) all(ctx context.Context, op, kinds string, requests [][]string) ([]wire.Reply, error) {
	replies, err := s.pipeline(ctx, op, kinds, requests...)
	if err != nil {
		return nil, err
	}
	if e := first(replies); e != nil {
		return nil, s.refused(op, e)
	}
	return replies, nil
}

// pipeline has requests answered, refused or not.
func (s *Session) pipeline(ctx context.Context, op, kinds string, requests ...[]string) ([]wire.Reply, error) {
	if s.conn == nil {
		return nil, refused(op, errEnded)
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

// refused is the error of a refusal, which may be the end of the session.
func (s *Session) refused(op string, e *Error) error {
	switch e.Code {
	case wire.LockLost, wire.NotFound, wire.NoSession:
		s.end()
	}
	return refused(op, e)
}

// end gives the connection back.
func (s *Session) end() {
	if s.conn != nil {
		s.client.pool.put(s.conn)
		s.conn = nil
	}
}
