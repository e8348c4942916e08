package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"sessionserver/wire"
)

// Options are what a DSN cannot say. The zero Options are fine.
type Options struct {
	MaxOpen     int           // connections at a time; each open session has one; default 64
	MaxIdle     int           // connections kept for later; default MaxOpen, negative is none
	IdleTimeout time.Duration // until a connection that nobody uses is closed; default 5 min, a server's is 10

	// RateWait is how long a request beyond a rate may wait for its turn; default the DSN's timeout, negative is not to wait.
	RateWait time.Duration

	// TLS is completed with what the DSN says, for the scheme tls. It is copied.
	TLS *tls.Config

	// DialContext makes the connections beneath TLS, instead of a net.Dialer. network is tcp or unix.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxOpen < 0 {
		return o, fmt.Errorf("sessionserver: Options.MaxOpen: %d (allowed: 0 or more)", o.MaxOpen)
	}
	if o.IdleTimeout < 0 {
		return o, fmt.Errorf("sessionserver: Options.IdleTimeout: %v (allowed: 0 or more)", o.IdleTimeout)
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 64
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = o.MaxOpen
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 5 * time.Minute
	}
	return o, nil
}

// Client is a pool of connections to one server, all of which act as the same app. It is for concurrent use.
type Client struct {
	dsn  *DSN
	pool *pool
}

// Dial connects to the server that dsn names, authenticates, and returns a client if the server answers. Its error is
// a *DSNError, a *ConnError, an *Error (ErrBadAuth, ErrNoAuth, ErrTLSRequired, ErrIPDenied, …), a *TenantError, the
// context's, or tells what is wrong with opts or a file.
func Dial(ctx context.Context, dsn string, opts Options) (*Client, error) {
	parsed, err := ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	if opts, err = opts.withDefaults(); err != nil {
		return nil, err
	}
	d, err := newDialer(parsed, opts)
	if err != nil {
		return nil, err
	}
	c := &Client{dsn: parsed, pool: &pool{
		dial: d.connect, maxOpen: opts.MaxOpen, maxIdle: opts.MaxIdle, idleTimeout: opts.IdleTimeout,
	}}
	first, err := c.pool.get(ctx)
	if err != nil {
		return nil, err
	}
	if parsed.App == "" && !d.asksWho() {
		err = anonymous(ctx, first)
	}
	c.pool.put(first)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connections that are idle, and those in use as soon as their sessions end. It always returns nil.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// String is the DSN without its secret.
func (c *Client) String() string { return "sessionserver client of " + c.dsn.String() }

// GoString is String.
func (c *Client) GoString() string { return c.String() }

// Stats describes the pool of a Client at one moment.
type Stats struct {
	Open    int // connections in use, idle, or being made
	Idle    int
	Waiting int // callers that wait for one
}

// Stats describes the pool.
func (c *Client) Stats() Stats { return c.pool.stats() }

// Ping asks the server for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	cn, replies, err := c.begin(ctx, "ping", []string{"+"}, func(cn *conn) time.Duration {
		cn.queue("ping")
		return 0
	})
	if err != nil {
		return err
	}
	c.pool.put(cn)
	if e := first(replies); e != nil {
		return refused("ping", e)
	}
	return nil
}

// New makes a session, open for writing, under an id that the server has drawn at random. lifetime is how long it
// lives unused, in whole seconds; 0 is the DSN's, or the tenant's. Nothing is stored before the first Commit, Save or
// Close.
func (c *Client) New(ctx context.Context, lifetime time.Duration) (*Session, error) {
	if lifetime == 0 {
		lifetime = c.dsn.Lifetime
	}
	cn, replies, err := c.begin(ctx, "new", []string{"$"}, func(cn *conn) time.Duration {
		if lifetime == 0 {
			cn.queue("new")
		} else {
			cn.queue("new", seconds(lifetime))
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	if e := replies[0].Err; e != nil {
		c.pool.put(cn)
		return nil, refused("new", e)
	}
	return &Session{client: c, conn: cn, id: string(replies[0].Bytes), mode: ModeReadWrite, unsaved: true, changed: true}, nil
}

// Mode is the way in which a session is opened.
type Mode string

// The modes of Open.
const (
	ModeReadWrite Mode = "rw" // for writing, alone; creates the session unless the tenant is strict. The default
	ModeUpdate    Mode = "u"  // for writing, alone; existing sessions only
	ModeRead      Mode = "r"  // for reading, together with other readers; existing sessions only
	ModeSnapshot  Mode = "s"  // for reading what was saved last, without any lock; existing sessions only
)

func (m Mode) writes() bool { return m == ModeReadWrite || m == ModeUpdate }

// OpenOptions say how to open a session. The zero OpenOptions open it for writing.
type OpenOptions struct {
	Mode Mode

	// Wait is how long to wait for the lock, at most ten minutes. 0 is the DSN's lock_timeout, or else the tenant's;
	// NoWait is not to wait. The context's deadline counts if it is earlier.
	Wait time.Duration
}

// Open opens the session with this id, waiting for its lock in the server's queue. When ctx ends first, Open returns
// at once, and the place in the queue is given up. It answers ErrLockTimeout when the wait is over, ErrNotFound,
// ErrBadID. With on_lock_timeout=readonly in the DSN a session that stays locked is opened in ModeSnapshot instead,
// as its Mode tells.
func (c *Client) Open(ctx context.Context, id string, opts OpenOptions) (*Session, error) {
	s, _, err := c.open(ctx, "open", id, opts, false, c.dsn.OnLockTimeout == "readonly")
	return s, err
}

// Load opens a session like Open, and gets all its values in the same round trip.
func (c *Client) Load(ctx context.Context, id string, opts OpenOptions) (*Session, *Values, error) {
	return c.open(ctx, "load", id, opts, true, c.dsn.OnLockTimeout == "readonly")
}

// View returns the values that were saved last. It waits for no lock and takes one round trip.
func (c *Client) View(ctx context.Context, id string) (*Values, error) {
	cn, replies, err := c.begin(ctx, "view", []string{"+", "%*", "+"}, func(cn *conn) time.Duration {
		cn.queue("open", id, string(ModeSnapshot))
		cn.queue("get_all")
		cn.queue("abort")
		return 0
	})
	if err != nil {
		return nil, err
	}
	if replies[0].Err == nil && replies[2].Err != nil {
		cn.cut() // something is still open on it
	}
	defer c.pool.put(cn)
	if e := first(replies[:2]); e != nil {
		return nil, refused("view", e)
	}
	return newValues(replies[1].Items), nil
}

// open opens a session, and gets its values if they are wanted.
func (c *Client) open(ctx context.Context, op, id string, opts OpenOptions, values, fallBack bool) (
	*Session, *Values, error,
) {
	if opts.Mode == "" {
		opts.Mode = ModeReadWrite
	}
	began := time.Now()
	kinds := []string{"+", "%*"}
	if !values {
		kinds = kinds[:1]
	}
	cn, replies, err := c.begin(ctx, op, kinds, func(cn *conn) time.Duration {
		wait := c.queueOpen(ctx, cn, id, opts, began)
		if values {
			cn.queue("get_all")
		}
		return wait
	})
	if err != nil {
		return nil, nil, err
	}
	if e := replies[0].Err; e != nil {
		c.pool.put(cn)
		if fallBack && e.Code == wire.LockTimeout {
			s, v, err := c.open(ctx, op, id, OpenOptions{Mode: ModeSnapshot}, values, false)
			if !errors.Is(err, ErrNotFound) { // there may be nothing saved yet
				return s, v, err
			}
		}
		return nil, nil, refused(op, e)
	}
	s := &Session{client: c, conn: cn, id: id, mode: opts.Mode}
	s.unsaved = opts.Mode == ModeReadWrite // it may be new
	if !values {
		return s, nil, nil
	}
	if e := replies[1].Err; e != nil {
		s.Abort(ctx)
		return nil, nil, refused(op, e)
	}
	v := newValues(replies[1].Items)
	s.unsaved = s.unsaved && v.Len() == 0
	return s, v, nil
}

// destroy removes a session that is open nowhere, or not any more.
func (c *Client) destroy(ctx context.Context, id string) error {
	began := time.Now()
	cn, replies, err := c.begin(ctx, "destroy", []string{"+"}, func(cn *conn) time.Duration {
		wait := c.queueOpen(ctx, cn, id, OpenOptions{Mode: ModeUpdate}, began)
		cn.queue("destroy")
		return wait
	})
	if err != nil {
		return err
	}
	if replies[0].Err == nil && replies[1].Err != nil {
		cn.cut() // something is still open on it
	}
	c.pool.put(cn)
	if e := first(replies); e != nil && e.Code != wire.NotFound {
		return refused("destroy", e)
	}
	return nil
}

// queueOpen queues the request that opens a session, and returns how long it may wait for the lock.
func (c *Client) queueOpen(ctx context.Context, cn *conn, id string, opts OpenOptions, began time.Time) time.Duration {
	wait, known := c.lockWait(ctx, cn, opts.Wait, began)
	request := []string{"open", id, string(opts.Mode)}
	if known {
		request = append(request, strconv.FormatInt(wait.Milliseconds(), 10))
	}
	cn.queue(request...)
	return wait
}

// lockWait is how long the server may wait for a lock now, and whether it is to be told so: otherwise it is the
// tenant's time, as it was when the connection was made.
func (c *Client) lockWait(ctx context.Context, cn *conn, wait time.Duration, began time.Time) (time.Duration, bool) {
	if wait == 0 {
		wait = c.dsn.LockTimeout
	}
	if wait == 0 {
		return cn.lockWait, false
	}
	wait -= time.Since(began)
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	return max(wait, 0), true
}

// attempts is on how many connections the beginning of a session is tried.
const attempts = 3

// begin gets a connection and has the first round trip of a session on it: build queues the requests, and returns how
// long the server may take beyond the time-out; kinds are those of the replies. A connection that has come out of the
// pool may turn out to have been closed by the server meanwhile, or its path to be dead: then another one is taken. That
// repeats nothing, since whatever was begun on a connection is undone with it.
func (c *Client) begin(ctx context.Context, op string, kinds []string, build func(*conn) time.Duration) (
	*conn, []wire.Reply, error,
) {
	for attempt := 1; ; attempt++ {
		cn, err := c.pool.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		again := cn.reused && attempt < attempts
		if again {
			cn.probe()
		}
		replies, err := cn.exchange(ctx, op, kinds, build(cn))
		var broken *ConnError
		switch {
		case err == nil && !(again && replies[0].Err != nil && replies[0].Err.Code == wire.Shutdown):
			return cn, replies, nil
		case err == nil:
		case !errors.As(err, &broken), errors.Is(err, os.ErrDeadlineExceeded):
			again = false
		}
		c.pool.put(cn)
		if !again {
			return nil, nil, err
		}
		c.pool.flush()
	}
}

// seconds writes a time in whole seconds, rounded up.
func seconds(d time.Duration) string {
	if d < 0 {
		return "-1" // which no command takes
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
