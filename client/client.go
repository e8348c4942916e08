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

// Options holds the settings of a Client that are not part of a DSN. The zero Options hold the defaults.
type Options struct {
	MaxOpen     int           // maximum number of connections, one for each open session; default 64
	MaxIdle     int           // maximum number of idle connections; default MaxOpen, negative for none
	IdleTimeout time.Duration // idle time after which a connection is closed; default 5 min, the server's default is 10

	// RateWait is how long a request beyond a rate limit may wait before it is sent again. The default is the DSN's
	// timeout; a negative value disables the wait.
	RateWait time.Duration

	// TLS is the base of the TLS configuration for the scheme tls. It is copied, and the DSN's parameters are added.
	TLS *tls.Config

	// DialContext makes the connections below TLS, in place of a net.Dialer. The network is tcp or unix.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxOpen < 0 {
		return o, fmt.Errorf("sessionserver: Options.MaxOpen: invalid value %d (allowed: 0 or more)", o.MaxOpen)
	}
	if o.IdleTimeout < 0 {
		return o, fmt.Errorf("sessionserver: Options.IdleTimeout: invalid value %v (allowed: 0 or more)", o.IdleTimeout)
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

// Client is a pool of connections to one server. All of them authenticate as the same app. A Client is safe for
// concurrent use.
type Client struct {
	dsn  *DSN
	pool *pool
}

// Dial connects to the server of a DSN, authenticates, and returns a client for it. The error is a *DSNError, a
// *ConnError, an *Error (ErrBadAuth, ErrNoAuth, ErrTLSRequired, ErrIPDenied, …), a *TenantError or the error of the
// context. An invalid option and an unreadable file are reported as plain errors.
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
	if parsed.App == "" && !d.verifiesTenant() {
		err = checkAnonymous(ctx, first)
	}
	c.pool.put(first)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the idle connections at once and the others as soon as their sessions end. It always returns nil.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// String returns the DSN without its secret.
func (c *Client) String() string { return "sessionserver client of " + c.dsn.String() }

// GoString returns the same as String.
func (c *Client) GoString() string { return c.String() }

// Stats holds the state of a Client's pool at one moment.
type Stats struct {
	Open    int // connections in use, idle or being made
	Idle    int // idle connections
	Waiting int // callers waiting for a connection
}

// Stats returns the state of the pool.
func (c *Client) Stats() Stats { return c.pool.stats() }

// Ping verifies that the server replies.
func (c *Client) Ping(ctx context.Context) error {
	cn, replies, err := c.begin(ctx, "ping", []string{"+"}, func(cn *conn) time.Duration {
		cn.queue("ping")
		return 0
	})
	if err != nil {
		return err
	}
	c.pool.put(cn)
	if e := firstError(replies); e != nil {
		return opError("ping", e)
	}
	return nil
}

// New creates a session under a random id from the server and opens it for writing. The lifetime is the idle time
// after which the session expires, in whole seconds; 0 stands for the DSN's lifetime, or else the tenant's. Nothing is
// stored before the first Commit, Save or Close.
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
		return nil, opError("new", e)
	}
	id := string(replies[0].Bytes)
	return &Session{client: c, conn: cn, id: id, mode: ModeReadWrite, unsaved: true, changed: true}, nil
}

// Mode is the access mode of a session.
type Mode string

// The modes of Open. All but ModeReadWrite open existing sessions only.
const (
	ModeUpdate    Mode = "u"  // exclusive lock; the default, and right for an id from a cookie
	ModeReadWrite Mode = "rw" // exclusive lock; creates a missing session unless the tenant is strict
	ModeRead      Mode = "r"  // lock shared with other readers
	ModeSnapshot  Mode = "s"  // no lock; read access to the values saved last
)

func (m Mode) writes() bool { return m == ModeReadWrite || m == ModeUpdate }

// OpenOptions holds the options of Open and Load. The zero OpenOptions open an existing session in ModeUpdate.
type OpenOptions struct {
	Mode Mode

	// Wait is how long to wait for the lock, at most ten minutes. 0 stands for the DSN's lock_timeout, or else the
	// tenant's; NoWait disables the wait. An earlier deadline of the context takes precedence.
	Wait time.Duration
}

// Open opens the session with the given id and waits for its lock in the server's queue. When ctx ends first, Open
// returns at once and leaves the queue. The error is ErrLockTimeout for a lock that stays held, ErrNotFound or
// ErrBadID. With on_lock_timeout=readonly in the DSN, Open opens a locked session in ModeSnapshot instead, which
// [Session.Mode] reports.
func (c *Client) Open(ctx context.Context, id string, opts OpenOptions) (*Session, error) {
	s, _, err := c.open(ctx, "open", id, opts, false, c.dsn.OnLockTimeout == "readonly")
	return s, err
}

// Load opens a session like Open and returns all its values from the same round trip.
func (c *Client) Load(ctx context.Context, id string, opts OpenOptions) (*Session, *Values, error) {
	return c.open(ctx, "load", id, opts, true, c.dsn.OnLockTimeout == "readonly")
}

// View returns the values saved last. It waits for no lock and takes one round trip.
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
		cn.cut() // the session is still open on it
	}
	defer c.pool.put(cn)
	if e := firstError(replies[:2]); e != nil {
		return nil, opError("view", e)
	}
	return newValues(replies[1].Items), nil
}

// open opens a session and, if values is true, returns its values. If fallBack is true, a locked session is opened in
// ModeSnapshot.
func (c *Client) open(ctx context.Context, op, id string, opts OpenOptions, values, fallBack bool) (
	*Session, *Values, error,
) {
	if opts.Mode == "" {
		opts.Mode = ModeUpdate
	}
	start := time.Now()
	kinds := []string{"+", "%*"}
	if !values {
		kinds = kinds[:1]
	}
	cn, replies, err := c.begin(ctx, op, kinds, func(cn *conn) time.Duration {
		wait := c.queueOpen(ctx, cn, id, opts, start)
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
			if !errors.Is(err, ErrNotFound) { // a new session has no saved values
				return s, v, err
			}
		}
		return nil, nil, opError(op, e)
	}
	s := &Session{client: c, conn: cn, id: id, mode: opts.Mode}
	s.unsaved = opts.Mode == ModeReadWrite // the session may be new
	if !values {
		return s, nil, nil
	}
	if e := replies[1].Err; e != nil {
		s.Abort(ctx)
		return nil, nil, opError(op, e)
	}
	v := newValues(replies[1].Items)
	s.unsaved = s.unsaved && v.Len() == 0
	return s, v, nil
}

// destroy removes a session that this client does not hold open.
func (c *Client) destroy(ctx context.Context, id string) error {
	start := time.Now()
	cn, replies, err := c.begin(ctx, "destroy", []string{"+"}, func(cn *conn) time.Duration {
		wait := c.queueOpen(ctx, cn, id, OpenOptions{Mode: ModeUpdate}, start)
		cn.queue("destroy")
		return wait
	})
	if err != nil {
		return err
	}
	if replies[0].Err == nil && replies[1].Err != nil {
		cn.cut() // the session is still open on it
	}
	c.pool.put(cn)
	if e := firstError(replies); e != nil && e.Code != wire.NotFound {
		return opError("destroy", e)
	}
	return nil
}

// queueOpen queues the request that opens a session and returns how long the server may wait for the lock.
func (c *Client) queueOpen(ctx context.Context, cn *conn, id string, opts OpenOptions, start time.Time) time.Duration {
	wait, explicit := c.lockWait(ctx, cn, opts.Wait, start)
	request := []string{"open", id, string(opts.Mode)}
	if explicit {
		request = append(request, strconv.FormatInt(wait.Milliseconds(), 10))
	}
	cn.queue(request...)
	return wait
}

// lockWait returns how long the server may wait for a lock, and whether the request must carry that time. Without an
// explicit time the tenant's setting applies, as the server reported it when the connection was made.
func (c *Client) lockWait(ctx context.Context, cn *conn, wait time.Duration, start time.Time) (time.Duration, bool) {
	if wait == 0 {
		wait = c.dsn.LockTimeout
	}
	if wait == 0 {
		return cn.lockWait, false
	}
	wait -= time.Since(start)
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	return max(wait, 0), true
}

// maxAttempts is the number of connections on which the first round trip of a session is tried.
const maxAttempts = 3

// begin gets a connection from the pool and makes the first round trip of a session on it. The function build queues
// the requests and returns how long the server may take beyond the timeout; kinds are the kinds of the replies.
//
// The server may have closed a pooled connection meanwhile, or its network path may be dead. Then begin retries on
// another connection. The retry repeats no change, since the server rolls back a session whose connection ends.
func (c *Client) begin(ctx context.Context, op string, kinds []string, build func(*conn) time.Duration) (
	*conn, []wire.Reply, error,
) {
	for attempt := 1; ; attempt++ {
		cn, err := c.pool.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		retriable := cn.reused && attempt < maxAttempts
		if retriable {
			cn.probe()
		}
		replies, err := cn.exchange(ctx, op, kinds, build(cn))
		var broken *ConnError
		switch {
		case err == nil && !(retriable && replies[0].Err != nil && replies[0].Err.Code == wire.Shutdown):
			return cn, replies, nil
		case err == nil:
		case !errors.As(err, &broken), errors.Is(err, os.ErrDeadlineExceeded):
			retriable = false
		}
		c.pool.put(cn)
		if !retriable {
			return nil, nil, err
		}
		c.pool.flush()
	}
}

// seconds formats a duration in whole seconds, rounded up.
func seconds(d time.Duration) string {
	if d < 0 {
		return "-1" // invalid for every command
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
