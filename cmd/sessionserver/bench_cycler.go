package main

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sessionserver/client"
	"sessionserver/wire"
)

// cycler is a connection that runs session cycles, one at a time. A cycle is lock and release.
type cycler interface {
	// create creates a session with one value, and returns its id.
	create(ctx context.Context, lifetime time.Duration, value string) (id string, err error)

	// lock waits for the lock of a session and returns its value.
	lock(ctx context.Context, id string) (value string, err error)

	// release writes the value of the locked session and releases the lock.
	release(ctx context.Context, value string) error

	close()
}

// native is a connection to a session server. A cycle takes two round trips.
type native struct {
	client  *client.Client
	session *client.Session // that is locked
	values  *client.Values
}

func dialNative(ctx context.Context, dsn string) (cycler, error) {
	c, err := client.Dial(ctx, dsn, client.Options{MaxOpen: 1, MaxIdle: 1, RateWait: -1})
	if err != nil {
		return nil, err
	}
	return &native{client: c}, nil
}

func (n *native) create(ctx context.Context, lifetime time.Duration, value string) (string, error) {
	s, err := n.client.New(ctx, lifetime)
	if err != nil {
		return "", err
	}
	if err := s.Put(ctx, benchKey, value); err != nil {
		return "", err
	}
	return s.ID(), s.Close(ctx)
}

func (n *native) lock(ctx context.Context, id string) (value string, err error) {
	n.session, n.values, err = n.client.Load(ctx, id, client.OpenOptions{})
	if err != nil {
		return "", err
	}
	return n.values.Get(benchKey), nil
}

func (n *native) release(ctx context.Context, value string) error {
	n.values.Set(benchKey, value)
	return n.session.Save(ctx, n.values)
}

func (n *native) close() { n.client.Close() }

// redis is a connection to a Redis server. A cycle takes four round trips, those of the session handler of phpredis: it
// sets a lock unless there is one, reads, writes, and deletes the lock by a script.
type redis struct {
	nc      net.Conn
	replies *wire.ReplyReader
	request []byte
	poll    time.Duration // interval between attempts to take a lock
	token   string        // value of this connection's locks

	id       string // of the locked session
	lifetime string // of sessions, in seconds
}

const (
	redisTimeout  = 10 * time.Second // for a connection or a reply
	redisLockTime = "30000"          // milliseconds after which a lock expires, phpredis's default

	// redisRelease is the script by which phpredis releases a lock.
	redisRelease = `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`
)

// redisReleaseSum is the name of the script on a server that has run it before.
var redisReleaseSum = func() string {
	sum := sha1.Sum([]byte(redisRelease))
	return hex.EncodeToString(sum[:])
}()

// dialRedis connects to a DSN such as rediss://user:secret@host:6379?cafile=FILE, or redis:// without TLS.
func dialRedis(ctx context.Context, dsn string, poll time.Duration) (cycler, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Hostname() == "" || u.Scheme != "redis" && u.Scheme != "rediss" {
		return nil, errors.New("invalid DSN: want redis://HOST:PORT, or rediss:// for TLS") // the secret is not quoted
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "rediss" {
		if nc, err = secured(ctx, nc, u); err != nil {
			return nil, err
		}
	}
	r := &redis{nc: nc, replies: wire.NewReplyReader(nc), poll: poll, token: benchID(), lifetime: "1440"}
	if secret, set := u.User.Password(); set {
		if _, err := r.do("AUTH", cmp.Or(u.User.Username(), "default"), secret); err != nil {
			nc.Close()
			return nil, fmt.Errorf("authenticating: %w", err)
		}
	}
	return r, nil
}

// secured does the TLS handshake. It closes the connection if that fails.
func secured(ctx context.Context, nc net.Conn, u *url.URL) (net.Conn, error) {
	cfg := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if file := u.Query().Get("cafile"); file != "" {
		pem, err := os.ReadFile(file)
		if err == nil {
			if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
				err = fmt.Errorf("no PEM certificate found in %s", file)
			}
		}
		if err != nil {
			nc.Close()
			return nil, fmt.Errorf("cafile: %w", err)
		}
	}
	t := tls.Client(nc, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return t, nil
}

// do sends a command and returns the reply. A reply that is an error is an error of do.
func (r *redis) do(args ...string) (wire.Reply, error) {
	if err := r.nc.SetDeadline(time.Now().Add(redisTimeout)); err != nil {
		return wire.Reply{}, err
	}
	r.request = wire.AppendRequest(r.request[:0], args...)
	if _, err := r.nc.Write(r.request); err != nil {
		return wire.Reply{}, err
	}
	reply, err := r.replies.Next()
	if err == nil && reply.Err != nil {
		err = reply.Err
	}
	return reply, err
}

func (r *redis) create(_ context.Context, lifetime time.Duration, value string) (string, error) {
	r.lifetime = strconv.Itoa(int(lifetime.Seconds()))
	id := benchID()
	_, err := r.do("SETEX", id, r.lifetime, value)
	return id, err
}

func (r *redis) lock(ctx context.Context, id string) (string, error) {
	for {
		reply, err := r.do("SET", id+"_LOCK", r.token, "NX", "PX", redisLockTime)
		if err != nil {
			return "", err
		}
		if !reply.IsNull() {
			break
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(r.poll):
		}
	}
	r.id = id
	reply, err := r.do("GET", id)
	return string(reply.Bytes), err
}

func (r *redis) release(_ context.Context, value string) error {
	if _, err := r.do("SETEX", r.id, r.lifetime, value); err != nil {
		return err
	}
	_, err := r.do("EVALSHA", redisReleaseSum, "1", r.id+"_LOCK", r.token)
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == "NOSCRIPT" {
		_, err = r.do("EVAL", redisRelease, "1", r.id+"_LOCK", r.token)
	}
	return err
}

func (r *redis) close() { r.nc.Close() }

// benchID returns a random id.
func benchID() string { return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()) }

// cpuTime returns the processor time, user and system, that a process and its ended children have used. It needs
// Linux.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("the processor time of process %d is unknown: %w (--server-pid needs Linux, and the "+
			"number of a process of this machine)", pid, err)
	}
	return parseStat(string(stat))
}

// parseStat returns the processor time in a file of /proc, see proc_pid_stat(5): fields 14 to 17, in hundredths of a
// second. The second field is a name in parentheses and may have spaces.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third
	if len(fields) < 15 {
		return 0, fmt.Errorf("invalid content of /proc/PID/stat: %q", stat)
	}
	ticks := 0
	for _, field := range fields[11:15] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("invalid content of /proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
