package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9090}
	near := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}
	for _, tt := range []struct {
		name, dsn string
		fake      *fake
		err       error
		text      string
		requests  []string
	}{
		{"credentials", "tcp://a:s@h/t", &fake{remote: near}, nil, "", []string{"hello 3 auth t/a s", "ping"}},
		{"socket", "unix://a:s@/s?tenant=t", &fake{}, nil, "", []string{"hello 3 auth t/a s", "ping"}},
		{"anonymous", "tcp://h", &fake{reply: func(request string) string {
			if request == "stat" {
				return "-NOSESSION none\r\n"
			}
			return defaultReply(request)
		}}, nil, "", []string{"hello 3", "ping", "stat"}},
		{"credentials required", "tcp://h", &fake{reply: func(request string) string {
			if request == "stat" {
				return "-NOAUTH not authenticated\r\n"
			}
			return defaultReply(request)
		}}, client.ErrNoAuth, "NOAUTH not authenticated", []string{"hello 3", "ping", "stat"}},
		{"wrong secret", "tcp://a:s@h/t", &fake{reply: func(request string) string {
			if request == "ping" {
				return defaultReply(request)
			}
			return "-BADAUTH wrong secret\r\n"
		}}, client.ErrBadAuth, "dial: BADAUTH wrong secret", []string{"hello 3 auth t/a s", "ping"}},
		{"remote plaintext", "tcp://a:s@h/t", &fake{remote: far}, nil, "",
			[]string{"hello 3", "hello 3 auth t/a s", "ping"}},
		{"remote plaintext, TLS required", "tcp://a:s@h/t",
			&fake{remote: far, reply: func(string) string { return "-TLSREQUIRED use TLS\r\n" }},
			client.ErrTLSRequired, "TLSREQUIRED use TLS", []string{"hello 3"}},
		{"rejected", "tcp://a:s@h/t",
			&fake{reply: func(string) string { return "err IPDENIED address not allowed\r\n" }},
			client.ErrIPDenied, "sessionserver: dial: IPDENIED address not allowed", []string{"hello 3 auth t/a s"}},
		{"closed by the server", "tcp://a:s@h/t", &fake{reply: func(string) string { return hangUp }},
			io.ErrUnexpectedEOF, "sessionserver: dial: connection to h:9090: unexpected EOF",
			[]string{"hello 3 auth t/a s"}},
		{"another server", "tcp://a:s@h/t", &fake{reply: func(string) string { return "HTTP/1.1 400 Bad Request\r\n" }},
			nil, "wire: ", []string{"hello 3 auth t/a s"}},
		{"unexpected reply", "tcp://a:s@h/t", &fake{reply: func(string) string { return ":1\r\n" }},
			nil, "unexpected reply of kind ':'", []string{"hello 3 auth t/a s", "ping"}},
	} {
		c, err := client.Dial(t.Context(), tt.dsn, client.Options{DialContext: tt.fake.dialContext})
		if err == nil {
			c.Close()
		}
		var text string
		if err != nil {
			text = err.Error()
		}
		if (err == nil) != (tt.text == "") || !strings.Contains(text, tt.text) ||
			tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v %s", tt.name, err, tt.err, tt.text)
		}
		if got := tt.fake.take(); !slices.Equal(got[:min(len(got), len(tt.requests))], tt.requests) {
			t.Errorf("%s: requests %q, want %q", tt.name, got, tt.requests)
		}
	}
}

// TestTenantOfCertificate verifies that Dial reports a certificate of another tenant than the DSN's, without an
// additional round trip.
func TestTenantOfCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", &x509.Certificate{
		DNSNames: []string{"h"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	ca.issue("app", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.LoadX509KeyPair(ca.file("server.pem"), ca.file("server.key"))
	require.NoError(t, err)
	for _, tt := range []struct {
		whoami, text string
		err          error
		tenantError  bool
	}{
		{"%2\r\n$6\r\ntenant\r\n$4\r\nacme\r\n$3\r\napp\r\n$4\r\nshop\r\n", "", nil, false},
		{"%2\r\n$6\r\ntenant\r\n$5\r\nother\r\n$3\r\napp\r\n$4\r\nshop\r\n",
			`the certificate authenticates as "other/shop" and the DSN has the tenant "acme"`, nil, true},
		{"%0\r\n", `as "/"`, nil, true},
		{"-NOAUTH not authenticated\r\n", "sessionserver: dial: NOAUTH not authenticated", client.ErrNoAuth, false},
		{"+OK\r\n", "unexpected reply of kind '+'", nil, false},
	} {
		f := &fake{reply: func(request string) string {
			if request == "whoami" {
				return tt.whoami
			}
			return defaultReply(request)
		}}
		dsn := "tls://h/acme?cafile=" + ca.file("ca.pem") +
			"&certfile=" + ca.file("app.pem") + "&keyfile=" + ca.file("app.key")
		c, err := client.Dial(t.Context(), dsn, client.Options{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				near, far := net.Pipe()
				go f.serve(tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}}))
				return near, nil
			}})
		if err == nil {
			c.Close()
		}
		var other *client.TenantError
		if (err == nil) != (tt.text == "") || err != nil && !strings.Contains(err.Error(), tt.text) ||
			tt.err != nil && !errors.Is(err, tt.err) || errors.As(err, &other) != tt.tenantError {
			t.Errorf("%q: %v, want %s", tt.whoami, err, tt.text)
		}
		if got := f.take(); !slices.Equal(got, []string{"hello 3", "ping", "whoami"}) {
			t.Errorf("%q: requests %q", tt.whoami, got)
		}
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	unreachable := client.Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrPermission}
	}}
	_, err := client.Dial(t.Context(), "tcp://a:s@h/t", unreachable)
	var broken *client.ConnError
	if !errors.As(err, &broken) || broken.Op != "dial" || broken.Addr != "h:9090" || !errors.Is(err, os.ErrPermission) {
		t.Errorf("unreachable network: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Dial(ctx, "tcp://a:s@h/t", client.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled context: %v", err)
	}
	for _, opts := range []client.Options{{MaxOpen: -1}, {IdleTimeout: -1}} {
		if _, err := client.Dial(t.Context(), "tcp://a:s@h/t", opts); err == nil {
			t.Errorf("%+v: no error", opts)
		}
	}
	for _, file := range []string{"cafile=/nonexistent", "cafile=/dev/null", "certfile=/dev/null&keyfile=/dev/null"} {
		_, err := client.Dial(t.Context(), "tls://h?"+file, client.Options{})
		if err == nil || !strings.Contains(err.Error(), "file: ") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	anonymous := auth.Identity{Tenant: "dev", App: "app"}
	listen := server.Listen{Name: "open", Allow: servertest.Loopback, Anonymous: anonymous}
	c := dial(t, start(t, servertest.Config{Listen: listen}).Addr, client.Options{})
	require.NoError(t, c.Update(t.Context(), save(t, c, map[string]string{"n": "1"}), increment))
	_, err := client.Dial(t.Context(), start(t, servertest.Config{}).Addr, client.Options{})
	if !errors.Is(err, client.ErrNoAuth) {
		t.Errorf("server that requires credentials: error %v, want ErrNoAuth", err)
	}
}

func TestReplyTimeout(t *testing.T) {
	type operation = func(context.Context, *client.Client) error
	synctest.Test(t, func(t *testing.T) {
		silent := func(prefix string) func(string) string {
			return func(request string) string {
				if strings.HasPrefix(request, prefix) {
					return ""
				}
				return defaultReply(request)
			}
		}
		expect := func(f *fake, parameters string, call operation, after time.Duration, want error) {
			t.Helper()
			c := f.dial(t, "?timeout=3"+parameters, client.Options{})
			start := time.Now()
			err := call(t.Context(), c)
			if took := time.Since(start); took != after || !errors.Is(err, want) {
				t.Errorf("%v after %v, want %v after %v", err, took, want, after)
			}
			var broken *client.ConnError
			if errors.As(err, &broken) == errors.Is(want, context.DeadlineExceeded) {
				t.Errorf("%v has type %T", err, err)
			}
			if st := c.Stats(); st.Open != 0 {
				t.Errorf("the connection is still open: %+v", st)
			}
			c.Close()
		}
		openUnknown := func(ctx context.Context, c *client.Client) error {
			_, err := c.Open(ctx, unknownID, client.OpenOptions{})
			return err
		}
		within := func(d time.Duration, call operation) operation {
			return func(ctx context.Context, c *client.Client) error {
				ctx, cancel := context.WithTimeout(ctx, d)
				defer cancel()
				return call(ctx, c)
			}
		}
		f := &fake{reply: silent("new")}
		expect(f, "", func(ctx context.Context, c *client.Client) error {
			_, err := c.New(ctx, 0)
			return err
		}, 3*time.Second, os.ErrDeadlineExceeded)
		f.reply = silent("get")
		expect(f, "", func(ctx context.Context, c *client.Client) error {
			s, err := c.New(ctx, 0)
			require.NoError(t, err)
			_, _, err = s.Get(ctx, "a")
			if _, _, again := s.Get(ctx, "a"); !errors.Is(again, client.ErrNoSession) {
				t.Errorf("second Get: error %v, want ErrNoSession", again)
			}
			return err
		}, 3*time.Second, os.ErrDeadlineExceeded)
		// The timeout begins after the wait for a lock.
		f.reply = silent("open")
		expect(f, "", openUnknown, 13*time.Second, os.ErrDeadlineExceeded) // the tenant's wait is 10 s
		expect(f, "&lock_timeout=5", openUnknown, 8*time.Second, os.ErrDeadlineExceeded)
		expect(f, "&lock_timeout=5", within(2*time.Second, openUnknown), 2*time.Second, context.DeadlineExceeded)
		expect(f, "", within(20*time.Minute, openUnknown), 13*time.Second, os.ErrDeadlineExceeded)
	})
}

// TestLockWait verifies the wait for the lock in the request: that of the call, or else that of the DSN, limited by the
// deadline of the context.
func TestLockWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			parameters string
			wait       time.Duration
			deadline   time.Duration
			want       string
		}{
			{"", 0, 0, ""},
			{"", 0, time.Second, ""}, // the tenant's wait, which the end of the context interrupts
			{"", 3 * time.Second, 0, " 3000"},
			{"", 3 * time.Second, 2 * time.Second, " 2000"},
			{"", client.NoWait, 0, " 0"},
			{"?lock_timeout=2.5", 0, 0, " 2500"},
			{"?lock_timeout=2.5", 0, 1500 * time.Millisecond, " 1500"},
			{"?lock_timeout=2.5", 7 * time.Second, 0, " 7000"},
			{"?lock_timeout=2.5", client.NoWait, time.Hour, " 0"},
			{"?lock_timeout=0", 0, time.Hour, " 0"},
			{"?lock_timeout=0", time.Second, 0, " 1000"},
		} {
			f := &fake{}
			c := f.dial(t, tt.parameters, client.Options{})
			f.take()
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if tt.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
			}
			s, v, err := c.Load(ctx, unknownID, client.OpenOptions{Wait: tt.wait})
			require.NoError(t, err)
			if all(v) != "a=1 " {
				t.Errorf("values: %s", all(v))
			}
			want := []string{"open " + unknownID + " u" + tt.want, "get_all"}
			if got := f.take(); !slices.Equal(got, want) {
				t.Errorf("%+v: sent %q, want %q", tt, got, want)
			}
			s.Abort(ctx)
			cancel()
			c.Close()
		}
	})
}

// TestInvalidReplies verifies that a connection is closed after an invalid reply.
func TestInvalidReplies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ reply, text string }{
		"malformed":  {"?\r\n", "wire: "},
		"wrong kind": {":5\r\n", "unexpected reply of kind ':'"},
		"protocol":   {"-PROTOCOL invalid request\r\n", "PROTOCOL invalid request"},
		"closed":     {hangUp, "get: connection to h:9090: unexpected EOF"},
	} {
		f := &fake{reply: func(request string) string {
			if strings.HasPrefix(request, "get") {
				return tt.reply
			}
			return defaultReply(request)
		}}
		c := f.dial(t, "", client.Options{})
		s, err := c.New(t.Context(), 0)
		require.NoError(t, err)
		_, _, err = s.Get(t.Context(), "a")
		var broken *client.ConnError
		refused := errors.Is(err, client.ErrProtocol)
		if err == nil || !strings.Contains(err.Error(), tt.text) || errors.As(err, &broken) == refused {
			t.Errorf("%s: error %v", name, err)
		}
		s.Abort(t.Context())
		if st := c.Stats(); st.Open != 0 {
			t.Errorf("%s: the connection is still open: %+v", name, st)
		}
	}
}
