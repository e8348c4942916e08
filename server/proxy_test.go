package server_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// header returns the PROXY header of a balancer for a client at from. Without a client it is a connection of the
// balancer itself.
func header(t testing.TB, version byte, from string, tlvs ...proxyproto.TLV) string {
	t.Helper()
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if from != "" {
		ap := netip.MustParseAddrPort(from)
		h.Command, h.TransportProtocol = proxyproto.PROXY, proxyproto.TCPv6
		to := net.ParseIP("2001:db8::99")
		if ap.Addr().Is4() {
			h.TransportProtocol, to = proxyproto.TCPv4, net.IPv4(192, 0, 2, 99)
		}
		h.SourceAddr = net.TCPAddrFromAddrPort(ap)
		h.DestinationAddr = &net.TCPAddr{IP: to, Port: 9090}
	}
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := h.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const balancer = "10.1.1.1:5000"

// behind returns a listener behind these balancers.
func behind(balancers ...string) server.Listen {
	listen := everywhere
	for _, b := range balancers {
		listen.Proxies = append(listen.Proxies, netip.MustParsePrefix(b))
	}
	return listen
}

// TestProxyHeader checks that the client's address comes from the header, in each format, whole or in pieces, also
// with a request in the same segment.
func TestProxyHeader(t *testing.T) {
	long := proxyproto.TLV{Type: 0xEA, Value: bytes.Repeat([]byte("x"), 1500)}
	for name, row := range map[string]struct{ send, want string }{
		"v1 TCP4":    {header(t, 1, "192.0.2.7:1234"), "192.0.2.7:1234"},
		"v1 TCP6":    {header(t, 1, "[2001:db8::7]:1234"), "[2001:db8::7]:1234"},
		"v1 UNKNOWN": {"PROXY UNKNOWN\r\n", balancer},
		"v1 UNKNOWN long": {"PROXY UNKNOWN" + strings.Repeat(" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2) +
			" 65535 65535\r\n", balancer},
		"v1 mapped":    {"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.99 1234 9090\r\n", "192.0.2.7:1234"},
		"v2 TCP4":      {header(t, 2, "192.0.2.7:1234"), "192.0.2.7:1234"},
		"v2 TCP6":      {header(t, 2, "[2001:db8::7]:1234"), "[2001:db8::7]:1234"},
		"v2 LOCAL":     {header(t, 2, ""), balancer},
		"v2 with more": {header(t, 2, "192.0.2.7:1234", long), "192.0.2.7:1234"},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", name, piece), func(t *testing.T) {
				inBubble(t, server.Options{}, behind("10.1.1.0/24"),
					func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
						p := dial(balancer)
						all := row.send + "auth test/app secret\r\n"
						for len(all) > 0 {
							n := min(piece, len(all))
							p.Send(all[:n])
							all = all[n:]
						}
						p.Want("ok")
						if whoami := p.Ask("whoami", "ok "); !strings.Contains(whoami, " address="+row.want+" ") {
							t.Errorf("whoami: %s", whoami)
						}
					})
			})
		}
	}
}

// TestProxyTLS checks that TLS begins after the header, also in the same segment.
func TestProxyTLS(t *testing.T) {
	for version := byte(1); version <= 2; version++ {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(t)
			listen := behind("10.1.1.0/24")
			listen.TLS, listen.Plaintext = a.server(), server.PlaintextNever
			bubble(t, server.Options{}, listen, func(t *testing.T, _ *server.Server,
				dial func(string) *servertest.Conn) {
				p := dial(balancer)
				p.Conn = &prefixed{Conn: p.Conn, first: header(t, version, "192.0.2.7:1234")}
				p = p.TLS(a.client())
				p.Ask("auth test/app secret", "ok")
				if whoami := p.Ask("whoami", "ok "); !strings.Contains(whoami, " address=192.0.2.7:1234 tls=1.3 ") {
					t.Errorf("whoami: %s", whoami)
				}
				q := dial(balancer)
				q.Send(header(t, version, "127.0.0.1:1") + "p")
				q.Want("err TLSREQUIRED ")
			})
		})
	}
}

// prefixed writes a prefix together with the first write.
type prefixed struct {
	net.Conn
	first string
}

func (p *prefixed) Write(b []byte) (int, error) {
	before := len(p.first)
	n, err := p.Conn.Write(append([]byte(p.first), b...))
	p.first = ""
	return max(n-before, 0), err
}

// TestProxyRefuses checks that a balancer without a valid header is refused, and that none of its requests is run.
func TestProxyRefuses(t *testing.T) {
	for name, send := range map[string]string{
		"none":          "auth test/app secret\r\nnew\r\n",
		"RESP":          "*1\r\n$4\r\nping\r\n",
		"TLS":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxxxxxx",
		"no address":    "PROXY TCP4\r\nping\r\n",
		"no IP":         "PROXY TCP4 localhost 192.0.2.1 1 2\r\nping\r\n",
		"wrong family":  "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\nping\r\n",
		"port":          "PROXY TCP4 192.0.2.1 192.0.2.2 99999 2\r\nping\r\n",
		"endless":       "PROXY TCP4 " + strings.Repeat("1", 500) + "\r\n",
		"v2 of nothing": "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00ping\r\n",
		"v2 Unix":       "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("/", 216) + "ping\r\n",
		"v2 UDP":        "\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c" + strings.Repeat("\x01", 12) + "ping\r\n",
		"v2 huge":       "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			observed := newObserver()
			inBubble(t, server.Options{Observer: observed}, behind("10.1.1.1/32"),
				func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
					p := dial(balancer)
					go func() { _, _ = io.WriteString(p.Conn, send) }() // the server may close the connection first
					if text := p.Line(); text != "err PROTOCOL this address must send a PROXY header first" {
						t.Errorf("got %q", text)
					}
					p.Rest()
					synctest.Wait()
					if got := <-observed.closed; got != server.Refused || len(observed.closed) > 0 ||
						len(observed.commands) > 0 {
						t.Errorf("closed for %v; %d more closed, %d ran", got, len(observed.closed),
							len(observed.commands))
					}
				})
		})
	}
}

// TestProxyUntrusted checks that a header from any other address ends the connection without running a command,
// whatever client it names.
func TestProxyUntrusted(t *testing.T) {
	for version := byte(1); version <= 2; version++ {
		listen := behind("10.1.1.1/32")
		listen.Allow = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		listen.Anonymous = auth.Identity{Tenant: "test", App: "app"}
		observed := newObserver()
		inBubble(t, server.Options{Observer: observed}, listen,
			func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				p := dial("192.0.2.66:1")
				go func() { _, _ = io.WriteString(p.Conn, header(t, version, "192.0.2.7:1234")+"new\r\nnew\r\n") }()
				p.Want("err ")
				p.Rest()
				synctest.Wait()
				for len(observed.commands) > 0 {
					if ran := <-observed.commands; ran.Command != "" && ran.Command != "quit" {
						t.Errorf("v%d: ran %+v", version, ran)
					}
				}
				q := dial("10.1.1.2:1") // an address next to the balancer's
				q.Want("err IPDENIED ")
			})
	}
}

// TestProxySlow checks that a header must be complete within HandshakeTimeout, and does not delay a shutdown.
func TestProxySlow(t *testing.T) {
	for name, send := range map[string]string{"nothing": "", "half": "PROXY TCP4 192.0.2.1",
		"half v2": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{}, behind("10.1.1.1/32"),
				func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
					p := dial(balancer)
					p.Send(send)
					start := time.Now()
					p.Want("err PROTOCOL ")
					if took := time.Since(start); took != 10*time.Second {
						t.Errorf("it took %v", took)
					}
					q := dial(balancer)
					q.Send(send)
					synctest.Wait()
					start = time.Now()
					if err := s.Shutdown(t.Context()); err != nil || time.Since(start) != 0 {
						t.Errorf("Shutdown: %v after %v", err, time.Since(start))
					}
					q.Want("err SHUTDOWN ")
				})
		})
	}
}

// TestProxyAddressCounts checks that allowlists, caps per address and the plaintext rule apply to the client's
// address. The balancer's address need not be allowed, except for its own connections.
func TestProxyAddressCounts(t *testing.T) {
	listen := behind("10.1.1.1/32", "127.0.0.1/32", "::ffff:10.1.1.3/128")
	listen.Plaintext = server.PlaintextLoopback
	listen.Allow = auth.Allowlist{
		Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.9/128")},
	}
	for name, row := range map[string]struct{ peer, header, want string }{
		"a client that may, without TLS":      {balancer, header(t, 1, "192.0.2.7:1"), "err TLSREQUIRED "},
		"the same through a balancer here":    {"127.0.0.1:5", header(t, 1, "192.0.2.7:1"), "err TLSREQUIRED "},
		"a client here":                       {"127.0.0.1:5", header(t, 2, "127.0.0.1:1"), "ok PONG"},
		"a client on the balancer's machine":  {balancer, header(t, 2, "127.0.0.1:1"), "err TLSREQUIRED "},
		"a client that may not":               {balancer, header(t, 1, "198.51.100.1:1"), "err IPDENIED "},
		"a denied one":                        {balancer, header(t, 1, "192.0.2.9:1"), "err IPDENIED "},
		"a denied one as IPv6":                {balancer, "PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n", "err IPDENIED "},
		"the balancer itself, not allowed":    {balancer, header(t, 2, ""), "ok PONG"},
		"a balancer here speaking for itself": {"127.0.0.1:5", header(t, 2, ""), "ok PONG"},
		"a balancer listed as IPv6": {"10.1.1.3:1", header(t, 1, "198.51.100.1:1"),
			"err IPDENIED this address may"},
		"a balancer connecting as IPv6": {"[::ffff:10.1.1.1]:1", header(t, 1, "192.0.2.7:1"),
			"err TLSREQUIRED "},
		"no balancer, its address not allowed":  {"10.1.1.2:1", "", "err IPDENIED "},
		"no balancer, allowed, plaintext there": {"192.0.2.7:1", "", "err TLSREQUIRED "},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{}, listen, func(t *testing.T, _ *server.Server,
				dial func(string) *servertest.Conn) {
				p := dial(row.peer)
				go func() { _, _ = io.WriteString(p.Conn, row.header+"ping\r\n") }()
				p.Want(row.want)
			})
		})
	}
	inBubble(t, server.Options{MaxConnsPerIP: 2}, behind("10.1.1.1/32"),
		func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			from := func(client string) *servertest.Conn {
				p := dial(balancer)
				p.Send(header(t, 2, client))
				return p
			}
			a, b := from("192.0.2.1:1"), from("192.0.2.1:2")
			a.Ask("ping", "ok")
			b.Ask("ping", "ok")
			third := from("192.0.2.1:3")
			third.Want("err UNAVAILABLE ")
			from("192.0.2.2:1").Ask("ping", "ok")
			a.Ask("quit", "ok")
			synctest.Wait()
			from("192.0.2.1:4").Ask("ping", "ok")
		})
}

// TestProxyHealthCheck checks that a balancer's own connection may ping where its address may not connect or use
// plaintext. It may do nothing else, not even with valid credentials or on an anonymous listener. Neither a health
// check nor a silent connection is logged.
func TestProxyHealthCheck(t *testing.T) {
	narrow := auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for name, change := range map[string]func(*server.Listen){
		"not allowed": func(l *server.Listen) { l.Allow = narrow },
		"not allowed, anonymous": func(l *server.Listen) {
			l.Allow, l.Anonymous = narrow,
				auth.Identity{Tenant: "test", App: "app"}
		},
		"denied": func(l *server.Listen) {
			l.Allow.Deny = []netip.Prefix{netip.MustParsePrefix("10.1.1.1/32")}
		},
		"no plaintext":           func(l *server.Listen) { l.Plaintext = server.PlaintextNever },
		"no plaintext from afar": func(l *server.Listen) { l.Plaintext = server.PlaintextLoopback },
	} {
		for _, local := range []string{"PROXY UNKNOWN\r\n", header(t, 1, balancer), header(t, 2, "")} {
			t.Run(fmt.Sprintf("%s, %.13q", name, local), func(t *testing.T) {
				listen := behind("10.1.1.1/32")
				change(&listen)
				var logged bytes.Buffer
				observed := newObserver()
				opts := server.Options{Observer: observed, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
				inBubble(t, opts, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
					silent := dial(balancer)
					_ = silent.Close()
					brief := dial(balancer)
					brief.Send(local)
					_ = brief.Close()
					check := dial(balancer)
					check.Send(local + "*1\r\n$4\r\nPING\r\n") // as HAProxy's option redis-check
					check.Want("+PONG")
					_ = check.Close()
					synctest.Wait()
					for range 3 {
						if got := <-observed.closed; got != server.PeerLeft {
							t.Errorf("closed for %v", got)
						}
					}
					if logged.Len() > 0 {
						t.Errorf("unexpected log:\n%s", &logged)
					}
					more := dial(balancer)
					more.Send(local)
					more.Ask("new", "err NOAUTH ")
					more.Ask("auth test/app secret", "err IPDENIED ")
					more.Ask("new", "err NOAUTH ")
					hello := dial(balancer)
					hello.Send(local + "*5\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$8\r\ntest/app\r\n$6\r\n" +
						"secret\r\n")
					hello.Want("-IPDENIED ")
					start := time.Now()
					more.Want("err NOAUTH the client did not authenticate in time")
					if took := time.Since(start); took > time.Minute {
						t.Errorf("the connection stays for %v", took)
					}
				})
			})
		}
	}
}

// TestProxyReal checks the same over real sockets.
func TestProxyReal(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Listen: server.Listen{
		Name: "behind", Allow: servertest.Everywhere, Plaintext: server.PlaintextAlways,
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	}, Tenants: []server.Tenant{servertest.Tenant("test/app", "secret")}})
	p := dial(t, s)
	p.Send(header(t, 2, "[2001:db8::1]:7") + "auth test/app secret\r\nwhoami\r\n")
	p.Want("ok")
	if whoami := p.Want("ok "); !strings.Contains(whoami, " address=[2001:db8::1]:7 ") {
		t.Errorf("whoami: %s", whoami)
	}
}
