package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/client"
)

// refuses replies to the first requests of a kind that they come too soon, and to what follows an open that nothing is
// open.
func refuses(command string, refusals ...string) func(string) string {
	closed := false
	return func(request string) string {
		switch {
		case strings.HasPrefix(request, command) && len(refusals) > 0:
			refusal := refusals[0]
			refusals = refusals[1:]
			closed = command == "open"
			return "-RATELIMITED " + refusal + "\r\n"
		case closed && request == "get_all":
			return "-NOSESSION open one first\r\n"
		case strings.HasPrefix(request, "open"):
			closed = false
		}
		return usual(request)
	}
}

// TestRateLimited is about requests beyond a rate: they are sent again when the server says, and wait no longer than the
// time-out.
func TestRateLimited(t *testing.T) {
	ping := func(ctx context.Context, c *client.Client) error { return c.Ping(ctx) }
	load := func(ctx context.Context, c *client.Client) error {
		s, _, err := c.Load(ctx, unknownID, client.OpenOptions{})
		if err == nil {
			s.Abort(ctx)
		}
		return err
	}
	put := func(ctx context.Context, c *client.Client) error {
		return c.Update(ctx, unknownID, func(v *client.Values) error {
			v.Set("a", "2")
			return nil
		})
	}
	open, openToUpdate := "open "+unknownID+" rw", "open "+unknownID+" u"
	for _, tt := range []struct {
		name     string
		call     func(context.Context, *client.Client) error
		answer   func(string) string
		opts     client.Options
		deadline time.Duration
		requests []string
		took     time.Duration
		refused  bool
	}{
		{
			name: "one request", call: ping, answer: refuses("ping", "retry in 40 ms"),
			requests: []string{"ping", "ping"}, took: 40 * time.Millisecond,
		},
		{
			name: "pauses become longer", call: ping, answer: refuses("ping", "retry in 1 ms", "retry in 1 ms", "retry in 1 ms"),
			requests: []string{"ping", "ping", "ping", "ping"}, took: (4 + 8 + 16) * time.Millisecond,
		},
		{
			name: "the requests behind it", call: load, answer: refuses("open", "retry in 40 ms"),
			requests: []string{open, "get_all", open, "get_all", "abort"}, took: 40 * time.Millisecond,
		},
		{
			name: "not those before it", call: load, answer: refuses("get_all", "retry in 40 ms"),
			requests: []string{open, "get_all", "get_all", "abort"}, took: 40 * time.Millisecond,
		},
		{
			name: "a change, though the end of the session is not refused", call: put, answer: refuses("put", "retry in 40 ms", "retry in 30 ms"),
			requests: []string{openToUpdate, "get_all", "put a 2", "close", openToUpdate, "get_all", "put a 2", "put a 2", "close"},
			took:     30 * time.Millisecond,
		},
		{
			name: "later than the time-out", call: ping, answer: refuses("ping", "retry in 3001 ms"),
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "again and again", call: ping, answer: refuses("ping", "retry in 2000 ms", "retry in 2000 ms", "retry in 2000 ms"),
			requests: []string{"ping", "ping"}, took: 2 * time.Second, refused: true,
		},
		{
			name: "later than the context", call: ping, answer: refuses("ping", "retry in 1500 ms"), deadline: time.Second,
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "without patience", call: ping, answer: refuses("ping", "retry in 1 ms"), opts: client.Options{RateWait: -1},
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "with more patience", call: ping, answer: refuses("ping", "retry in 5000 ms"), opts: client.Options{RateWait: time.Minute},
			requests: []string{"ping", "ping"}, took: 5 * time.Second,
		},
		{
			name: "no time given", call: ping, answer: refuses("ping", "too much"), requests: []string{"ping"}, refused: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				c := f.dial(t, "?timeout=3", tt.opts)
				defer c.Close()
				f.take()
				f.answer = tt.answer
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				began := time.Now()
				err := tt.call(ctx, c)
				if took := time.Since(began); took != tt.took || errors.Is(err, client.ErrRateLimited) != tt.refused || (err != nil) != tt.refused {
					t.Errorf("%v after %v, want %v", err, took, tt.took)
				}
				if requests := f.take(); !slices.Equal(requests, tt.requests) {
					t.Errorf("requests %q, want %q", requests, tt.requests)
				}
			})
		})
	}
}

// TestRateLimitedBehindPing is about a connection that has been idle: the ping that is sent first is sent once.
func TestRateLimitedBehindPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := f.dial(t, "", client.Options{})
		defer c.Close()
		time.Sleep(time.Minute)
		f.take()
		f.answer = refuses("new", "retry in 5 ms")
		s, err := c.New(t.Context(), 0)
		must(t, err)
		s.Abort(t.Context())
		if requests := f.take(); !slices.Equal(requests, []string{"ping", "new", "new", "abort"}) {
			t.Errorf("requests %q", requests)
		}
	})
}

// TestConnectsTooOften is about a server that turns a connection away for a moment.
func TestConnectsTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := 2
		f := &fake{answer: func(request string) string {
			if strings.HasPrefix(request, "hello") && turns > 0 {
				turns--
				return "err RATELIMITED this address connects too often: keep connections open; retry in 50 ms\r\n"
			}
			return usual(request)
		}}
		began := time.Now()
		c := f.dial(t, "", client.Options{})
		defer c.Close()
		if took := time.Since(began); took != 100*time.Millisecond || turns != 0 {
			t.Errorf("connected after %v", took)
		}
	})
}
