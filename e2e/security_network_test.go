//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// netns is a network namespace until the end of the test: a thread in it that runs functions.
type netns struct {
	work chan func()
	tid  int
}

// newNetns creates a namespace. Without the right to do so the test is skipped, unless no test may be.
func newNetns(t *testing.T) *netns {
	t.Helper()
	n := &netns{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		n.tid = syscall.Gettid()
		made <- nil
		for f := range n.work {
			f()
		}
	}()
	if err := <-made; err != nil && !servertest.Everything() {
		t.Skipf("needs the right to make a network namespace, as root has: %v", err)
	} else if err != nil {
		t.Fatalf("a network namespace (run this as root): %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	n.ip(t, "link set lo up")
	return n
}

// do runs a function in the namespace, to which its sockets and processes belong. The function may end the test.
func (n *netns) do(f func()) {
	returned := make(chan bool)
	n.work <- func() {
		ok := false
		defer func() { returned <- ok }()
		f()
		ok = true
	}
	if !<-returned {
		runtime.Goexit()
	}
}

// ip runs ip in the namespace.
func (n *netns) ip(t *testing.T, args string) {
	t.Helper()
	path := servertest.Program(t, "ip")
	var out []byte
	var err error
	n.do(func() { out, err = exec.Command(path, strings.Fields(args)...).CombinedOutput() })
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// join connects two namespaces by a virtual cable. Each end gets addresses.
func join(t *testing.T, a *netns, as []string, b *netns, bs []string) {
	t.Helper()
	a.ip(t, fmt.Sprintf("link add cable type veth peer name cable netns %d", b.tid))
	for n, addresses := range map[*netns][]string{a: as, b: bs} {
		for _, address := range addresses {
			if strings.Contains(address, ":") {
				address += " nodad"
			}
			n.ip(t, "addr add "+address+" dev cable")
		}
		n.ip(t, "link set cable up")
	}
}

// dial connects from an address in the namespace.
func (n *netns) dial(t *testing.T, from, to string) *servertest.Conn {
	t.Helper()
	var nc net.Conn
	var err error
	n.do(func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: require.Patience}
		nc, err = d.Dial("tcp", to)
	})
	if err != nil {
		t.Fatalf("from %s: %v", from, err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return servertest.NewConn(t, nc)
}

// dialTLS is dial with a TLS handshake.
func (n *netns) dialTLS(t *testing.T, h *instance, from, to string) *servertest.Conn {
	t.Helper()
	c := n.dial(t, from, to)
	secured := tls.Client(c.Conn, h.clientTLS(t))
	if err := secured.Handshake(); err != nil {
		t.Fatalf("from %s: %v", from, err)
	}
	return servertest.NewConn(t, secured)
}

// port returns the port of a listener.
func (h *instance) port(t *testing.T, listener string) string {
	t.Helper()
	port := ""
	require.Eventually(t, "listener "+listener+" serves", func() bool {
		for line := range strings.Lines(h.log()) {
			var entry struct{ Msg, Listener, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" && entry.Listener == listener {
				_, port, _ = net.SplitHostPort(entry.Address)
			}
		}
		return port != ""
	})
	return port
}

// TestSecurityOtherMachine checks that clients of another machine must use TLS, and that the allowlists of the
// listener, the tenant and the app apply to IPv4, IPv6 and mapped addresses. The other machine is a network namespace.
func TestSecurityOtherMachine(t *testing.T) {
	t.Parallel()
	here, there := newNetns(t), newNetns(t)
	join(t, here, []string{"10.77.0.1/24", "fd77::1/64"}, there,
		[]string{"10.77.0.2/24", "10.77.0.3/24", "10.77.0.9/24", "fd77::2/64", "fd77::3/64", "fd77::9/64"})
	secret := auth.NewSecret()
	app := "    role: readwrite\n    secrets: [\"" + auth.HashSecret(secret).String() + "\"]\n"
	var h *instance
	here.do(func() {
		h = deployment{
			listen: `
  - {name: main, address: ":0", allow: [127.0.0.0/8, "::1", 10.77.0.0/24, "fd77::/64"], deny: [10.77.0.9, "fd77::9"]}
  - {name: always, address: ":0", plaintext: always, allow: [10.77.0.2]}
  - {name: never, address: ":0", plaintext: never, allow: [127.0.0.1, 10.77.0.2]}
  - {name: mapped, address: "0.0.0.0:0", allow: ["::ffff:10.77.0.3"]}`,
			tenants: map[string]string{
				"all": "allow: [10.77.0.0/24, \"fd77::/64\", 127.0.0.1]\napps:\n  shop:\n" + app +
					"  four:\n    allow: [10.77.0.2]\n" + app + "  six:\n    allow: [\"fd77::2\"]\n" + app +
					"  not:\n    deny: [10.77.0.2, \"fd77::2\"]\n" + app +
					"  wider:\n    allow: [0.0.0.0/0]\n" + app,
				"two": "allow: [10.77.0.2, \"fd77::2\"]\napps:\n  shop:\n" + app +
					"  wider:\n    allow: [0.0.0.0/0, \"::/0\"]\n" + app,
				"mapped": "allow: [\"::ffff:10.77.0.2\"]\napps:\n  shop:\n" + app,
				"denied": "allow: [0.0.0.0/0, \"::/0\"]\ndeny: [\"::ffff:10.77.0.2\", \"fd77::/126\"]\napps:\n" +
					"  shop:\n" + app,
			},
		}.serve(t)
	})
	four := func(listener string) string { return "10.77.0.1:" + h.port(t, listener) }
	six := func(listener string) string { return "[fd77::1]:" + h.port(t, listener) }
	main4, main6 := four("main"), six("main")

	for from, to := range map[string]string{"10.77.0.2": main4, "fd77::2": main6} {
		for sent, want := range map[string]string{
			"auth all/shop " + secret + "\r\nnew\r\n":       "err TLSREQUIRED ",
			"*3\r\n$4\r\nAUTH\r\n$8\r\nall/shop\r\n$1\r\nx": "-TLSREQUIRED ",
			"x": "err TLSREQUIRED ",
		} {
			c := there.dial(t, from, to)
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			if rest := c.Rest(); !strings.HasPrefix(rest, want) || strings.Count(rest, "\n") != 1 {
				t.Errorf("the reply to %.10[2]q from %[1]s is %[3]q", from, sent, rest)
			}
		}
		c := there.dialTLS(t, h, from, to)
		c.OK("auth all/shop " + secret)
		c.OK("open a-session-over-tls-0")
		c.OK("put from " + from)
		c.OK("close")
		if who := c.OK("whoami"); !strings.Contains(who, from) || !strings.Contains(who, "tls=") {
			t.Errorf("from %s: %s", from, who)
		}
	}
	c := here.dial(t, "127.0.0.1", "127.0.0.1:"+h.port(t, "main")) // plaintext from the machine itself
	c.OK("auth all/shop " + secret)
	c = here.dial(t, "10.77.0.1", main4) // its own address is not loopback, although the machine is the same
	c.Refused("ping", "TLSREQUIRED")

	// Allowlists of listeners.
	for _, row := range []struct {
		from, to, want string
	}{
		{"10.77.0.9", main4, "err IPDENIED "}, {"fd77::9", main6, "err IPDENIED "},
		{"10.77.0.3", four("always"), "err IPDENIED "},
		{"fd77::2", six("always"), "err IPDENIED "}, {"10.77.0.2", four("mapped"), "err IPDENIED "},
	} {
		if rest := there.dial(t, row.from, row.to).Rest(); !strings.HasPrefix(rest, row.want) {
			t.Errorf("%s at %s reads %q", row.from, row.to, rest)
		}
	}
	there.dial(t, "10.77.0.2", four("always")).OK("auth all/shop " + secret)
	there.dialTLS(t, h, "10.77.0.2", four("always")).OK("auth all/shop " + secret)
	there.dialTLS(t, h, "10.77.0.3", four("mapped")).OK("auth all/shop " + secret)
	there.dialTLS(t, h, "10.77.0.2", four("never")).OK("auth all/shop " + secret)
	here.dial(t, "127.0.0.1", "127.0.0.1:"+h.port(t, "never")).Refused("ping", "TLSREQUIRED")

	// Allowlists of tenants and apps.
	for _, row := range []struct {
		from, app string
		allowed   bool
	}{
		{"10.77.0.2", "all/four", true}, {"10.77.0.3", "all/four", false}, {"fd77::2", "all/four", false},
		{"fd77::2", "all/six", true}, {"fd77::3", "all/six", false}, {"10.77.0.2", "all/six", false},
		{"10.77.0.2", "all/not", false}, {"10.77.0.3", "all/not", true}, {"fd77::2", "all/not", false},
		{"fd77::3", "all/not", true},
		{"10.77.0.3", "all/wider", true}, {"fd77::2", "all/wider", false},
		{"10.77.0.2", "two/shop", true}, {"10.77.0.3", "two/shop", false}, {"fd77::2", "two/shop", true},
		{"fd77::3", "two/shop", false},
		{"10.77.0.2", "two/wider", true}, {"10.77.0.3", "two/wider", false},
		{"10.77.0.2", "mapped/shop", true}, {"10.77.0.3", "mapped/shop", false},
		{"10.77.0.2", "denied/shop", false}, {"10.77.0.3", "denied/shop", true}, {"fd77::2", "denied/shop", false},
	} {
		to := main4
		if strings.Contains(row.from, ":") {
			to = main6
		}
		c := there.dialTLS(t, h, row.from, to)
		switch line := "auth " + row.app + " " + secret; {
		case row.allowed:
			c.OK(line)
		default:
			c.Refused(line, "IPDENIED")
			c.Refused("new", "NOAUTH")
			c.Refused("auth "+row.app+" wrong", "BADAUTH") // without the secret the allowlist is not revealed
		}
	}

	// A narrower allowlist ends the connections that it excludes.
	gone, stays := there.dialTLS(t, h, "fd77::2", main6), there.dialTLS(t, h, "10.77.0.2", main4)
	gone.OK("auth two/shop " + secret)
	stays.OK("auth two/shop " + secret)
	h.writeTenant(t, "two", "allow: [10.77.0.2]\napps:\n  shop:\n"+app)
	allClosed(t, map[string]*servertest.Conn{"fd77::2": gone})
	stays.OK("whoami")
}
