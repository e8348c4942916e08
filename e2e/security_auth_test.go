package e2e

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
)

// unlimitedGuesses lets a test guess credentials at full speed.
const unlimitedGuesses = "limits: {error_budget: 1000000}\nrates: {auth_failures: {per_second: 0, burst: 0}, " +
	"unauthenticated: {per_second: 0, burst: 0}}\n"

// TestSecurityCredentialsAlike checks that the reply to invalid credentials is the same, byte for byte, in every
// framing, with and without TLS. It does not reveal which tenants and apps exist.
func TestSecurityCredentialsAlike(t *testing.T) {
	t.Parallel()
	good, old, foreign := auth.NewSecret(), auth.NewSecret(), auth.NewSecret()
	h := deployment{settings: unlimitedGuesses, tenants: map[string]string{
		"acme":  tenantFile("", "shop "+good+" "+auth.NewSecret(), "empty"),
		"other": tenantFile("", "shop "+foreign),
	}}.serve(t)
	guesses := [][2]string{
		{"nobody/shop", good}, {"acme/nobody", good}, {"acme/shop", old}, {"acme/shop", foreign}, {"acme/empty", good},
		{"acme/empty", "x"},
		{"acme/shop", auth.HashSecret(good).String()}, {"acme/shop", good + "0"}, {"acme/shop", good[:len(good)-1]},
		{"acme", good}, {"acme/", good}, {"/shop", good}, {"/", good}, {"ACME/shop", good}, {"acme/shop/", good},
		{"acme//shop", good},
		{"../acme/shop", good}, {"other/../acme/shop", good}, {"acme/sh*p", good}, {"acmé/shop", good},
		{"acme\x01/shop", good},
		{strings.Repeat("a", 1000) + "/shop", good}, {"acme/" + strings.Repeat("b", 1000), good},
		{"!unauthenticated/shop", good},
	}
	binary := [][2]string{{"acme/shop", string(make([]byte, 32))}, {"acme\x00/shop", good}, {"acme/shop\x00", good},
		{"acme/shop", good + "\x00"}, {"acme/shop", good + "\r\n"}, {"acme\r\n/shop", good}, {"", ""},
		{"acme/shop", ""}}
	resp := func(words ...string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
		return b.String()
	}
	for name, open := range map[string]func() *servertest.Conn{
		"plaintext": func() *servertest.Conn { return servertest.Connect(t, h.addr) },
		"TLS":       func() *servertest.Conn { return h.connectTLS(t) },
	} {
		const text = "BADAUTH unknown app or wrong secret: auth tenant/app secret\r\n"
		c := open()
		for want, forms := range map[string][]func(g [2]string) string{
			"err " + text: {func(g [2]string) string { return "auth " + g[0] + " " + g[1] + "\r\n" }},
			"-" + text: {
				func(g [2]string) string { return resp("AUTH", g[0], g[1]) },
				func(g [2]string) string { return resp("HELLO", "2", "AUTH", g[0], g[1]) },
				func(g [2]string) string { return resp("HELLO", "3", "AUTH", g[0], g[1], "SETNAME", "x") },
			},
		} {
			for i, form := range forms {
				all := guesses
				if want[0] == '-' {
					all = slices.Concat(guesses, binary)
				}
				for _, g := range all {
					if _, err := io.WriteString(c, form(g)); err != nil {
						t.Fatal(err)
					}
					reply := make([]byte, len(want))
					if _, err := io.ReadFull(c.In, reply); err != nil || string(reply) != want {
						t.Fatalf("%s, form %d, auth %.60q …: %q, %v; not %q", name, i, g[0], reply, err, want)
					}
				}
			}
		}
		c.Refused("new", "NOAUTH")
		c.OK("auth acme/shop " + good)
		if who := c.OK("whoami"); !strings.Contains(who, "tenant=acme app=shop") {
			t.Errorf("with valid credentials: %s", who)
		}
	}
}

// BenchmarkCredentials measures whether all kinds of invalid credentials are refused equally fast. The kinds are tried
// in random order, so that other load slows all of them down. It reports how far the medians of the kinds are apart,
// and the medians of random halves of one kind, which do not differ. A distinguishable kind would be several
// microseconds beyond that.
func BenchmarkCredentials(b *testing.B) {
	apps := []string{"shop00 " + auth.NewSecret() + " " + auth.NewSecret(), "empty0"}
	for i := range 50 {
		apps = append(apps, fmt.Sprintf("app%d %s", i, auth.NewSecret()))
	}
	h := deployment{settings: unlimitedGuesses, tenants: map[string]string{"acme": tenantFile("", apps...)}}.serve(b)
	c, err := servertest.Dial(h.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	names := []string{"acme/shop00", "acme/empty0", "acme/nobody", "none/shop00", "ACME/shop00", "acme-shop00",
		"../c/shop00"}
	secret := auth.NewSecret() // of no app
	kinds := make([][]float64, len(names))
	reply := make([]byte, 256)
	for b.Loop() {
		for _, k := range rand.Perm(len(kinds)) {
			line := "auth " + names[k] + " " + secret + "\r\n"
			began := time.Now()
			if _, err := io.WriteString(c, line); err != nil {
				b.Fatal(err)
			}
			n, err := c.Read(reply)
			took := time.Since(began)
			if err != nil || !strings.HasPrefix(string(reply[:n]), "err BADAUTH ") || reply[n-1] != '\n' {
				b.Fatalf("%q, %v", reply[:n], err)
			}
			kinds[k] = append(kinds[k], float64(took)/1e3)
		}
	}
	b.ReportMetric(median(kinds[0]), "µs/attempt")
	b.ReportMetric(apart(kinds), "µs-kinds-apart")
	b.ReportMetric(halves(kinds), "µs-halves-apart")
}

// apart returns how far the medians are apart.
func apart(kinds [][]float64) float64 {
	least, most := math.Inf(1), math.Inf(-1)
	for _, kind := range kinds {
		m := median(kind)
		least, most = min(least, m), max(most, m)
	}
	return most - least
}

// halves returns how far the medians of random halves of one kind are apart at most.
func halves(kinds [][]float64) float64 {
	most := 0.0
	for _, kind := range kinds {
		if len(kind) < 2 {
			continue
		}
		shuffled := slices.Clone(kind)
		for range 10 {
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			most = max(most, apart([][]float64{shuffled[:len(shuffled)/2], shuffled[len(shuffled)/2:]}))
		}
	}
	return most
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// TestSecurityIsolation checks that one id of two tenants is two sessions, that no id reaches a session of another
// tenant, and that auth keeps nothing of the identity before.
func TestSecurityIsolation(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"file", "log", "memory"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			secrets := map[string]string{}
			files := map[string]string{}
			for _, name := range []string{"acme", "acme-2", "acm"} {
				secrets[name] = auth.NewSecret()
				files[name] = tenantFile("", "shop "+secrets[name])
			}
			h := deployment{storage: "{driver: " + driver + ", path: DIR/state}", settings: unlimitedGuesses,
				tenants: files}.serve(t)
			mine, other := h.connectAs(t, "acme/shop", secrets["acme"]),
				h.connectAs(t, "acme-2/shop", secrets["acme-2"])

			// Ids that are special as parts of a path, a key or a pattern.
			ids := []string{
				"0123456789abcdef", "../acme-2/0123456789abcdef", "..%2facme-2%2f0123456789abcdef",
				"acme-2/0123456789abcdef", "acme-2:0123456789abcdef",
				"/etc/passwd/etc/passwd", "****************", "%00%00%00%00%00%00%00%00", "tenants/acme-2/sessions",
				`..\..\..\acme-2\id`,
				strings.Repeat("z", 256), "-2/0123456789abcdef", "....................", "../../../../DRIVER",
			}
			for i, id := range ids {
				mine.OK("open " + id)
				mine.OK(fmt.Sprintf("put who acme%d", i))
				mine.OK("close")
				other.Refused("open "+id+" r", "NOTFOUND")
				other.Refused("open "+id+" u 0", "NOTFOUND")
				other.Refused("open "+id+" s", "NOTFOUND")
				mine.OK("open " + id) // locked by one tenant
				other.OK("open " + id + " rw 0")
				if keys := other.OK("keys"); keys != "" {
					t.Fatalf("%s: the keys of the other tenant are %s", id, keys)
				}
				other.OK("put who other")
				other.OK("close")
				mine.OK("abort")
			}
			for i, id := range ids {
				mine.OK("open " + id + " r")
				if got := mine.OK("get_all"); got != fmt.Sprintf(`a:1:{s:3:"who";s:%d:"acme%d";}`,
					len(fmt.Sprintf("acme%d", i)), i) {
					t.Errorf("%s: %s", id, got)
				}
				mine.OK("abort")
				other.OK("open " + id)
				if got := other.OK("get who"); got != "other" {
					t.Errorf("%s: the value of the other tenant is %q", id, got)
				}
				other.OK("destroy") // the tombstone is the tenant's own
				other.Refused("open "+id, "NOTFOUND")
				mine.OK("open " + id + " rw 0")
				mine.OK("abort")
			}
			for _, bad := range []string{"short", strings.Repeat("z", 257), "0123456789abcd\x01f",
				"0123456789abcd\xff\xfe", "éééééééééééééééé"} {
				mine.Refused("open "+bad, "BADID")
			}
			// A line with a NUL is refused as a whole. RESP carries the NUL to the check of the id.
			if _, err := io.WriteString(mine, "*2\r\n$4\r\nopen\r\n$17\r\n01234567\x0089abcdef\r\n"); err != nil {
				t.Fatal(err)
			}
			if reply, err := mine.In.ReadString('\n'); err != nil || !strings.HasPrefix(reply, "-BADID ") {
				t.Errorf("an id with NUL: %q, %v", reply, err)
			}

			// The new id of regenerate_id belongs to the tenant only.
			mine.OK("open " + ids[0])
			moved := mine.OK("regenerate_id 60")
			mine.OK("close")
			other.Refused("open "+moved+" r", "NOTFOUND")

			// One connection changes its identity and back.
			c := h.connectAs(t, "acme/shop", secrets["acme"])
			c.OK("open " + moved)
			c.Refused("auth acme-2/shop "+secrets["acme-2"], "BUSY")
			if got := c.OK("get who"); got != "acme0" {
				t.Errorf("after a refused auth: %q", got)
			}
			c.OK("close")
			c.OK("auth acme-2/shop " + secrets["acme-2"])
			c.Refused("open "+moved+" r", "NOTFOUND")
			c.Refused("auth acme/shop "+secrets["acme-2"], "BADAUTH")
			if who := c.OK("whoami"); !strings.Contains(who, "tenant=acme-2 ") {
				t.Errorf("with invalid credentials the identity is %s", who)
			}
			c.Refused("auth acm/shop "+secrets["acme"], "BADAUTH")
			c.OK("auth acm/shop " + secrets["acm"])
			for _, id := range append(ids, moved) {
				c.Refused("open "+id+" r", "NOTFOUND")
			}
			if who := c.OK("whoami"); !strings.Contains(who, " sessions=0 ") || !strings.Contains(who, " bytes=0 ") {
				t.Errorf("a tenant without sessions: %s", who)
			}
			c.OK("auth acme/shop " + secrets["acme"])
			c.OK("open " + moved + " r")

			// reset removes the identity.
			c.OK("reset")
			c.Refused("open "+moved+" r", "NOAUTH")
		})
	}
}

// TestSecurityHostileTenantNames checks that files with invalid names define no tenant, and do not affect others.
func TestSecurityHostileTenantNames(t *testing.T) {
	t.Parallel()
	good, bad := auth.NewSecret(), auth.NewSecret()
	files := map[string]string{"acme": tenantFile("", "shop "+good)}
	hostile := []string{"..", "ACME", "acme other", "a*", "!unauthenticated", "ácme", strings.Repeat("a", 65), "-acme",
		"acme.yaml"}
	for _, name := range hostile {
		files[name] = tenantFile("", "shop "+bad)
	}
	h := deployment{settings: unlimitedGuesses, tenants: files}.serve(t)
	h.connectAs(t, "acme/shop", good)
	c := servertest.Connect(t, h.addr)
	for _, name := range hostile {
		if _, err := c.Do("auth " + name + "/shop " + bad); err == nil {
			t.Errorf("%q is accepted as a tenant", name)
		}
	}
	// one begins with a dot and is ignored
	if logged := strings.Count(h.log(), "invalid tenant name"); logged != len(hostile)-1 {
		t.Errorf("the log names %d of %d files", logged, len(hostile))
	}
}
