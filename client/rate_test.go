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
	"sessionserver/server/servertest/require"
)

// rateLimited returns a reply function that refuses the first requests of a command with RATELIMITED and the given
// messages. A get_all after a refused open has the reply NOSESSION.
func rateLimited(command string, refusals ...string) func(string) string {
	closed := false
	return func(request string) string {
		switch {
		case strings.HasPrefix(request, command) && len(refusals) > 0:
			refusal := refusals[0]
			refusals = refusals[1:]
			closed = command == "open"
			return "-RATELIMITED " + refusal + "\r\n"
		case closed && request == "get_all":
			return "-NOSESSION open a session first\r\n"
		case strings.HasPrefix(request, "open"):
			closed = false
		}
		return defaultReply(request)
	}
}

// TestRateLimited verifies that requests beyond a rate limit are sent again when the server allows it, and wait no
// longer than the timeout.
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
	open := "open " + unknownID + " u"
	for _, tt := range []struct {
		name     string
		call     func(context.Context, *client.Client) error
		reply    func(string) string
		opts     client.Options
		deadline time.Duration
		requests []string
		took     time.Duration
		refused  bool
	}{
		{
			name: "one request", call: ping, reply: rateLimited("ping", "retry in 40 ms"),
			requests: []string{"ping", "ping"}, took: 40 * time.Millisecond,
		},
		{
			name: "minimum pause doubles", call: ping,
			reply:    rateLimited("ping", "retry in 1 ms", "retry in 1 ms", "retry in 1 ms"),
			requests: []string{"ping", "ping", "ping", "ping"}, took: (4 + 8 + 16) * time.Millisecond,
		},
		{
			name: "later requests are repeated", call: load, reply: rateLimited("open", "retry in 40 ms"),
			requests: []string{open, "get_all", open, "get_all", "abort"}, took: 40 * time.Millisecond,
		},
		{
			name: "earlier requests are not repeated", call: load, reply: rateLimited("get_all", "retry in 40 ms"),
			requests: []string{open, "get_all", "get_all", "abort"}, took: 40 * time.Millisecond,
		},
		{
			name: "refused change with an accepted close", call: put,
			reply: rateLimited("put", "retry in 40 ms", "retry in 30 ms"),
			requests: []string{
				open, "get_all", "put a 2", "close", open, "get_all", "put a 2", "put a 2", "close",
			},
			took: 30 * time.Millisecond,
		},
		{
			name: "delay beyond the timeout", call: ping, reply: rateLimited("ping", "retry in 3001 ms"),
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "delays beyond the timeout together", call: ping,
			reply:    rateLimited("ping", "retry in 2000 ms", "retry in 2000 ms", "retry in 2000 ms"),
			requests: []string{"ping", "ping"}, took: 2 * time.Second, refused: true,
		},
		{
			name: "delay beyond the deadline of the context", call: ping,
			reply: rateLimited("ping", "retry in 1500 ms"), deadline: time.Second,
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "RateWait disabled", call: ping,
			reply: rateLimited("ping", "retry in 1 ms"), opts: client.Options{RateWait: -1},
			requests: []string{"ping"}, refused: true,
		},
		{
			name: "RateWait beyond the timeout", call: ping,
			reply: rateLimited("ping", "retry in 5000 ms"), opts: client.Options{RateWait: time.Minute},
			requests: []string{"ping", "ping"}, took: 5 * time.Second,
		},
		{
			name: "reply without a delay", call: ping, reply: rateLimited("ping", "too many requests"),
			requests: []string{"ping"}, refused: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				c := f.dial(t, "?timeout=3", tt.opts)
				defer c.Close()
				f.take()
				f.reply = tt.reply
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				start := time.Now()
				err := tt.call(ctx, c)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if errors.Is(err, client.ErrRateLimited) != tt.refused || (err != nil) != tt.refused {
					t.Errorf("error %v, want refused %t", err, tt.refused)
				}
				if requests := f.take(); !slices.Equal(requests, tt.requests) {
					t.Errorf("requests %q, want %q", requests, tt.requests)
				}
			})
		})
	}
}

// TestRateLimitedAfterProbe verifies that the probe of an idle connection is not repeated with a refused request.
func TestRateLimitedAfterProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := f.dial(t, "", client.Options{})
		defer c.Close()
		time.Sleep(time.Minute)
		f.take()
		f.reply = rateLimited("new", "retry in 5 ms")
		s, err := c.New(t.Context(), 0)
		require.NoError(t, err)
		s.Abort(t.Context())
		if requests := f.take(); !slices.Equal(requests, []string{"ping", "new", "new", "abort"}) {
			t.Errorf("requests %q", requests)
		}
	})
}

// TestConnectionRateLimited verifies that a connection beyond the rate limit is tried again.
func TestConnectionRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusals := 2
		f := &fake{reply: func(request string) string {
			if strings.HasPrefix(request, "hello") && refusals > 0 {
				refusals--
				return "err RATELIMITED this address connects too often: keep connections open; retry in 50 ms\r\n"
			}
			return defaultReply(request)
		}}
		start := time.Now()
		c := f.dial(t, "", client.Options{})
		defer c.Close()
		if took := time.Since(start); took != 100*time.Millisecond || refusals != 0 {
			t.Errorf("connected after %v", took)
		}
	})
}
