package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
)

// connect makes a client as docs/redis-clients.md shows it.
func connect(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:        addr,
		Protocol:    2,                // with version 3 go-redis 9.23 has a data race while it connects
		MaxRetries:  -1,               // a retry would go to another connection, where no session is open
		ReadTimeout: 15 * time.Second, // longer than open may wait for a lock
	})
}

// visit counts a visit in the session of a visitor's cookie, or in a new session. It returns the id for the cookie.
func visit(ctx context.Context, rdb *redis.Client, cookie string) (id string, visits int, err error) {
	conn := rdb.Conn() // one connection of the pool, for this session alone
	defer conn.Close()
	defer conn.Do(context.WithoutCancel(ctx), "abort") // leaves no session open; no effect after close

	id = cookie
	err = conn.Do(ctx, "open", id, "u").Err() // u: a visitor cannot choose the id of a new session
	if redis.HasErrorPrefix(err, "NOTFOUND") || redis.HasErrorPrefix(err, "BADID") {
		id, err = conn.Do(ctx, "new").Text()
	}
	if err != nil {
		return "", 0, err
	}
	visits, err = conn.Do(ctx, "get", "visits").Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", 0, err
	}
	visits++
	if err := conn.Do(ctx, "put", "visits", visits).Err(); err != nil {
		return "", 0, err
	}
	return id, visits, conn.Do(ctx, "close").Err()
}

// redisClient returns a client of s with this version of RESP.
func redisClient(t *testing.T, s *servertest.Server, version int) *redis.Client {
	t.Helper()
	opts := connect(s.Addr).Options()
	rdb := redis.NewClient(&redis.Options{Addr: opts.Addr, MaxRetries: opts.MaxRetries, ReadTimeout: opts.ReadTimeout,
		Protocol: version})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// pinned is one connection of a client, for one session.
type pinned struct {
	t *testing.T
	*redis.Conn
}

func pin(t *testing.T, rdb *redis.Client) pinned {
	t.Helper()
	conn := rdb.Conn()
	t.Cleanup(func() { _ = conn.Close() })
	return pinned{t, conn}
}

// do sends a command that must succeed. A null reply is nil.
func (p pinned) do(args ...any) any {
	p.t.Helper()
	reply, err := p.Do(p.t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		p.t.Fatalf("%.80v: %v", args, err)
	}
	return reply
}

// want sends a command whose reply must be want in the format of fmt.
func (p pinned) want(want string, args ...any) {
	p.t.Helper()
	if got := fmt.Sprint(p.do(args...)); got != want {
		p.t.Fatalf("%.80v: %.200s, want %s", args, got, want)
	}
}

// refused sends a command whose error must have this code.
func (p pinned) refused(code string, args ...any) {
	p.t.Helper()
	err := p.Do(p.t.Context(), args...).Err()
	var reply redis.Error
	if !errors.As(err, &reply) || !redis.HasErrorPrefix(err, code+" ") {
		p.t.Fatalf("%.80v: %T %v, want %s", args, err, err, code)
	}
}

// both runs a test in RESP2 and RESP3.
func both(t *testing.T, run func(t *testing.T, version int)) {
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", version), func(t *testing.T) {
			t.Parallel()
			run(t, version)
		})
	}
}

// pairs converts a reply to a map. RESP3 has maps, RESP2 lists keys and values in turn.
func pairs(t *testing.T, reply any) map[string]string {
	t.Helper()
	m := map[string]string{}
	switch a := reply.(type) {
	case map[any]any:
		for k, v := range a {
			m[fmt.Sprint(k)] = fmt.Sprint(v)
		}
	case []any:
		for i := 0; i+1 < len(a); i += 2 {
			m[fmt.Sprint(a[i])] = fmt.Sprint(a[i+1])
		}
	default:
		t.Fatalf("reply %T is not a map: %v", reply, reply)
	}
	return m
}

// TestRedisClient uses a session from its creation to its end with a Redis library.
func TestRedisClient(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		rdb := redisClient(t, servertest.Start(t, servertest.Config{}), version)
		c := pin(t, rdb)
		id := fmt.Sprint(c.do("new"))
		c.want("OK", "put", "time", 1100000000)
		c.want("OK", "put", "a key", "with spaces", "b|c", "", "gone", 1)
		c.want("1100000000", "get", "time")
		c.want("[with spaces <nil> ]", "get", "a key", "nothing", "b|c")
		c.want("<nil>", "get", "nothing")
		c.want("2", "remove", "gone", "time", "nothing")
		c.want("1", "exists", "a key")
		c.want("0", "exists", "time")
		c.want("[a key b|c]", "keys")
		c.want("OK", "close")

		c.want("OK", "open", id)
		c.want("OK", "put_all", "foo", "bar", "n", 2)
		if got := pairs(t, c.do("get_all")); !maps.Equal(got, map[string]string{"foo": "bar", "n": "2"}) {
			t.Errorf("get_all: %v", got)
		}
		c.want("OK", "commit")
		stat := pairs(t, c.do("stat"))
		if names := slices.Sorted(maps.Keys(stat)); !slices.Equal(names,
			[]string{"bytes", "created", "expires", "keys", "last_used", "version"}) {
			t.Errorf("stat: %v", stat)
		}
		if stat["version"] != "2" || stat["keys"] != "2" || stat["bytes"] != "8" {
			t.Errorf("stat: %v", stat)
		}
		c.want("OK", "close")

		c.want("OK", "open", id, "u", 0)
		next := fmt.Sprint(c.do("regenerate_id", 60))
		c.want("OK", "close")
		c.want("OK", "open", id, "r") // the old id leads to the session
		c.want("bar", "get", "foo")
		c.want("OK", "close")
		c.want("OK", "open", next)
		c.want("OK", "destroy")
		c.refused("NOTFOUND", "open", next)
		c.refused("NOTFOUND", "open", id)
	})
}

// TestRedisBinary checks that any bytes can be stored, as a value and, except for NUL, as a key.
func TestRedisBinary(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	both(t, func(t *testing.T, version int) {
		rdb := redisClient(t, servertest.Start(t, servertest.Config{}), version)
		c := pin(t, rdb)
		key, large := string(all[1:]), bytes.Repeat(all, 1<<20/len(all))
		id := fmt.Sprint(c.do("new"))
		c.want("OK", "put", key, all)
		c.want("OK", "put", "large", large)
		c.refused("TOOLARGE", "put", "larger", append(slices.Clone(large), 0))
		c.refused("BADKEY", "put", string(all), "")
		c.want("OK", "close")
		c.want("OK", "open", id, "r")
		for name, want := range map[string][]byte{key: all, "large": large} {
			if got := c.do("get", name); got != string(want) {
				t.Errorf("%.20q: %.100q", name, got)
			}
		}
		if got := pairs(t, c.do("get_all")); got[key] != string(all) || got["large"] != string(large) || len(got) != 2 {
			t.Errorf("get_all: %.100q", got)
		}
	})
}

// TestRedisErrors checks that a refusal is an error of the library that begins with the code, and that the connection
// continues.
func TestRedisErrors(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		rdb := redisClient(t, servertest.Start(t, servertest.Config{}), version)
		a, b := pin(t, rdb), pin(t, rdb)
		id := fmt.Sprint(a.do("new"))
		b.refused("LOCKTIMEOUT", "open", id, "rw", 0)
		b.refused("NOSESSION", "get", "foo")
		b.refused("NOTFOUND", "open", id, "r")
		b.refused("BADID", "open", "short")
		b.refused("BADARG", "open", id, "x")
		b.refused("UNKNOWN", "set", "foo", "bar")
		a.refused("BUSY", "open", id)
		a.want("OK", "put", "foo", "bar")
		a.want("OK", "close")
		b.want("OK", "open", id, "r")
	})
}

// TestRedisReadOnly documents that go-redis interprets READONLY as a sign of a replica, and drops the connection. So
// the session on it ends.
func TestRedisReadOnly(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		rdb := redisClient(t, servertest.Start(t, servertest.Config{}), version)
		c := pin(t, rdb)
		id := fmt.Sprint(c.do("new"))
		c.do("commit")
		c.refused("READONLY", "put", "foo", "bar")
		if err := c.Do(t.Context(), "get", "foo").Err(); err == nil || !strings.Contains(err.Error(), "bad state") {
			t.Errorf("the connection continues: %v; docs/redis-clients.md describes that it ends", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		again := pin(t, rdb)
		again.want("OK", "open", id, "rw", 0)
	})
}

// TestRedisPipeline checks that the replies of a pipeline are in order, errors included.
func TestRedisPipeline(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		rdb := redisClient(t, servertest.Start(t, servertest.Config{}), version)
		c := pin(t, rdb)
		c.do("new")
		const n = 1000
		replies, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for i := range n {
				p.Do(t.Context(), "put", fmt.Sprintf("k%d", i%100), i)
				p.Do(t.Context(), "get", fmt.Sprintf("k%d", i%100))
			}
			p.Do(t.Context(), "frobnicate")
			p.Do(t.Context(), "keys")
			return nil
		})
		if !redis.HasErrorPrefix(err, "UNKNOWN ") {
			t.Errorf("the first error: %v", err)
		}
		if len(replies) != 2*n+2 {
			t.Fatalf("%d replies", len(replies))
		}
		for i := range n {
			put, get := replies[2*i].(*redis.Cmd).Val(), replies[2*i+1].(*redis.Cmd).Val()
			if put != "OK" || get != fmt.Sprint(i) {
				t.Fatalf("%d: %v, %v", i, put, get)
			}
		}
		if keys, _ := replies[2*n+1].(*redis.Cmd).Slice(); len(keys) != 100 {
			t.Errorf("keys: %v", keys)
		}
	})
}

// TestRedisAuth checks that a library's user and password are the app and its secret.
func TestRedisAuth(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		s := servertest.Start(t, servertest.Config{
			Tenants: []server.Tenant{servertest.Tenant("acme/shop", "hss_secret")},
			Listen:  server.Listen{Name: "strict", Allow: servertest.Loopback},
		})
		for secret, code := range map[string]string{"hss_secret": "", "hss_wrong": "BADAUTH ", "": "NOAUTH "} {
			opts := &redis.Options{Addr: s.Addr, Protocol: version, MaxRetries: -1, Username: "acme/shop",
				Password: secret}
			if secret == "" {
				opts.Username = ""
			}
			rdb := redis.NewClient(opts)
			err := rdb.Do(t.Context(), "new").Err()
			if code == "" && err != nil || code != "" && !redis.HasErrorPrefix(err, code) {
				t.Errorf("%q: %v, want %q", secret, err, code)
			}
			_ = rdb.Close()
		}
	})
}

// TestRedisVisits runs the example of docs/redis-clients.md concurrently for one session. The lock makes each visit
// count.
func TestRedisVisits(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Settings: session.DefaultSettings()})
	rdb := connect(s.Addr)
	defer rdb.Close()
	id, visits, err := visit(t.Context(), rdb, "")
	if err != nil || visits != 1 {
		t.Fatal(visits, err)
	}
	const n = 20
	counts := make(chan int, n)
	for range n {
		go func() {
			got, visits, err := visit(t.Context(), rdb, id)
			if err != nil || got != id {
				t.Error(got, err)
			}
			counts <- visits
		}()
	}
	sum := 1
	for range n {
		sum += <-counts
	}
	if sum != (n+1)*(n+2)/2 {
		t.Errorf("the visits add up to %d", sum)
	}
	// A connection that returns to the pool has no open session, even after an error.
	if err := rdb.Do(t.Context(), "keys").Err(); !redis.HasErrorPrefix(err, "NOSESSION ") {
		t.Errorf("a session is open on a connection of the pool: %v", err)
	}
}
