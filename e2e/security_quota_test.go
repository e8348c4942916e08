package e2e

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// retryIn returns the delay that a refusal for a rate advises.
func retryIn(t *testing.T, refusal string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`RATELIMITED .*retry in (\d+) ms`).FindStringSubmatch(refusal)
	if m == nil {
		t.Fatalf("%q advises no delay", refusal)
	}
	ms, _ := strconv.Atoi(m[1])
	return time.Duration(ms) * time.Millisecond
}

// TestSecurityQuotas checks that a full tenant is refused new data, and can use and shrink its sessions. Another tenant
// is not affected.
func TestSecurityQuotas(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"memory", "log", "file"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			secret, other := auth.NewSecret(), auth.NewSecret()
			file := func(quotas string) string { return tenantFile("quotas: {"+quotas+"}", "shop "+secret) }
			h := deployment{storage: "{driver: " + driver + ", path: DIR/state}", tenants: map[string]string{
				"acme": file("sessions: 3"), "other": tenantFile("", "shop "+other),
			}}.serve(t)
			c, neighbour := h.connectAs(t, "acme/shop", secret), h.connectAs(t, "other/shop", other)
			value := strings.Repeat("x", 1000)
			limit := func(quotas, shown string) {
				t.Helper()
				h.writeTenant(t, "acme", file(quotas))
				require.Eventually(t, "quotas "+quotas+" are in force", func() bool {
					return strings.Contains(c.OK("whoami")+" ", shown)
				})
			}

			var ids []string
			for range 3 {
				ids = append(ids, c.OK("new"))
				c.OK("put v " + value)
				c.OK("close")
			}
			// The fourth session is refused, when it is created or saved. Existing sessions can be used and destroyed.
			fourth := func() (string, error) {
				id, err := c.Do("new")
				if err != nil {
					return "", err
				}
				c.OK("put v " + value)
				if _, err := c.Do("close"); err != nil {
					c.OK("abort")
					return "", err
				}
				return id, nil
			}
			if _, err := fourth(); err == nil || !strings.Contains(err.Error(), "err QUOTA ") {
				t.Errorf("a fourth session: %v", err)
			}
			c.OK("open fourth-session-by-id")
			c.Refused("close", "QUOTA")
			c.OK("abort")
			c.Refused("open fourth-session-by-id r", "NOTFOUND")
			for _, id := range ids {
				c.OK("open " + id)
				c.OK("put w " + value)
				c.OK("close")
			}
			c.OK("open " + ids[0])
			ids[0] = c.OK("regenerate_id 60") // the same session
			c.OK("close")
			c.OK("open " + ids[2])
			c.OK("destroy")
			if id, err := fourth(); err != nil {
				t.Errorf("after one is destroyed: %v", err)
			} else {
				ids[2] = id
			}

			// Bytes: the new quota is less than the usage.
			limit("bytes: 3500", " max_total_bytes=3500 ")
			c.OK("open " + ids[0])
			c.OK("put z " + value)
			c.Refused("close", "QUOTA")
			c.OK("remove z")
			c.OK("remove w")
			c.OK("close") // it shrinks, although the usage exceeds the quota
			c.OK("open " + ids[1])
			c.OK("put v " + strings.Repeat("y", 1000)) // of the same size
			c.OK("close")
			if _, err := fourth(); err == nil || !strings.Contains(err.Error(), "err QUOTA ") {
				t.Errorf("a session beyond the quota of bytes: %v", err)
			}
			c.OK("open " + ids[1])
			c.OK("destroy")
			if _, err := fourth(); err != nil {
				t.Errorf("within the quota of bytes: %v", err)
			}
			c.OK("open " + ids[0] + " r") // no session was evicted
			if got := c.OK("get v"); got != value {
				t.Errorf("a session has lost its value: %.20q", got)
			}
			c.OK("abort")

			// Connections and waiters.
			limit("connections: 3, waiters: 1", " max_connections=3 ")
			second, third := h.connectAs(t, "acme/shop", secret), h.connectAs(t, "acme/shop", secret)
			refused := servertest.Connect(t, h.addr)
			refused.Refused("auth acme/shop "+secret, "QUOTA")
			_ = third.Close()
			require.Eventually(t, "the closed connection is not counted any more", func() bool {
				_, err := refused.Do("auth acme/shop " + secret)
				return err == nil
			})
			third = refused
			c.OK("open " + ids[0])
			if _, err := fmt.Fprintf(second, "open %s rw 60000\r\n", ids[0]); err != nil {
				t.Fatal(err)
			}
			require.Eventually(t, "one client waits", func() bool {
				return strings.Contains(c.OK("whoami"), " waiters=1 ")
			})
			third.Refused("open "+ids[0]+" rw 60000", "QUOTA")
			third.Refused("open "+ids[0]+" rw 0", "LOCKTIMEOUT") // a client that does not wait is not a waiter
			c.OK("close")
			if reply, err := second.In.ReadString('\n'); err != nil || reply != "ok\r\n" {
				t.Errorf("the waiter gets %q, %v", reply, err)
			}
			second.OK("close")
			_ = third.Close()

			// Memory: open sessions.
			limit("memory: 1MiB", " max_connections=8192 ")
			large := strings.Repeat("x", 450_000)
			first := h.connectAs(t, "acme/shop", secret)
			holders := []*servertest.Conn{c, second, first}
			refusals := 0
			for i, holder := range holders {
				if _, err := holder.Do("new"); err != nil {
					refusals++
					continue
				}
				if _, err := holder.Do("put v " + large); err != nil {
					if !strings.Contains(err.Error(), "QUOTA") {
						t.Fatalf("%d: %v", i, err)
					}
					refusals++
				}
			}
			if refusals == 0 || refusals == len(holders) { // a request is counted beside the value that it sets
				t.Errorf("of three values of %d bytes in 1 MiB %d were refused", len(large), refusals)
			}
			neighbour.OK("new")
			neighbour.OK("put v " + large)
			neighbour.OK("close")
			for _, holder := range holders {
				_, _ = holder.Do("close") // after a refused new no session is open
			}
			_ = first.Close()
			require.Eventually(t, "the released memory is not counted any more", func() bool {
				if _, err := c.Do("new"); err != nil {
					return false
				}
				_, err := c.Do("put v " + large)
				c.OK("abort")
				return err == nil
			})
			if err := strings.Join(regexp.MustCompile(`(?m)^.*"level":"ERROR".*$`).FindAllString(h.log(), -1),
				"\n"); err != "" {
				t.Errorf("the log has errors:\n%s", err)
			}
		})
	}
}

// TestSecurityRates checks that commands beyond a rate are refused with a delay, or delayed if the tenant is configured
// so. A client that ignores refusals is disconnected.
func TestSecurityRates(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{settings: "limits: {error_budget: 10}\n", tenants: map[string]string{
		"reject": tenantFile("rates: {app: {per_second: 20, burst: 20}}", "shop "+secret, "api "+secret),
		"delay":  tenantFile("rates: {on_limit: delay, app: {per_second: 50, burst: 10}}", "shop "+secret),
		"slow":   tenantFile("rates: {on_limit: delay, app: {per_second: 1, burst: 10}}", "shop "+secret),
		"tenant": tenantFile("rates: {tenant: {per_second: 0.1, burst: 20}}", "shop "+secret, "api "+secret),
		"creation": tenantFile("rates: {session_creation: {per_second: 0.01, burst: 3}}", "shop "+secret,
			"api "+secret),
		"creationd": tenantFile("rates: {on_limit: delay, session_creation: {per_second: 0.01, burst: 3}}",
			"shop "+secret),
		"again": tenantFile("rates: {session_creation: {per_second: 2, burst: 3}}", "shop "+secret),
		"free":  tenantFile("", "shop "+secret),
	}}.serve(t)
	free := h.connectAs(t, "free/shop", secret)

	t.Run("reject", func(t *testing.T) {
		t.Parallel()
		c, api := h.connectAs(t, "reject/shop", secret), h.connectAs(t, "reject/api", secret)
		drain := func() (wait time.Duration) {
			t.Helper()
			for range 1000 {
				if _, err := c.Do("whoami"); err != nil {
					return retryIn(t, err.Error())
				}
			}
			t.Fatal("no command was refused")
			return 0
		}
		wait := drain()
		api.OK("whoami") // another app has a rate of its own
		time.Sleep(wait) // as advised
		c.OK("whoami")

		// A release counts against the rate and is never refused.
		time.Sleep(500 * time.Millisecond)
		c.OK("new")
		drain()
		c.OK("close")
		drain()
		// A new connection does not avoid the rate, and ignoring refusals ends the connection.
		require.Eventually(t, "a new connection is refused", func() bool {
			drain()
			other := servertest.Connect(t, h.addr)
			defer other.Close()
			_, err := other.Do("auth reject/shop " + secret)
			if err == nil { // the rate allowed it meanwhile
				return false
			}
			retryIn(t, err.Error())
			if rest := other.Rest(); rest != "" {
				t.Errorf("the server still sends %q", rest)
			}
			return true
		})
		_, _ = io.WriteString(c, strings.Repeat("whoami\r\n", 1000))
		if rest := c.Rest(); !strings.Contains(rest, "too many errors: the connection is closed") {
			t.Errorf("a client that ignores refusals is not disconnected, and reads %.500q", rest)
		}
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		c := h.connectAs(t, "delay/shop", secret)
		began := time.Now()
		for range 60 {
			c.OK("whoami")
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("60 commands at 50 a second and 10 at once take %v", took)
		}
		// A client that would wait for longer than some seconds is refused at once, and the others wait: 60 connections
		// of 2 commands each need 110 seconds.
		crowd := make(chan string, 60)
		began = time.Now()
		for range cap(crowd) {
			c := servertest.Connect(t, h.addr)
			if _, err := fmt.Fprintf(c, "auth slow/shop %s\r\n", secret); err != nil {
				t.Fatal(err)
			}
			go func() {
				reply, _ := c.In.ReadString('\n')
				crowd <- reply
			}()
		}
		waited := 0
		for range cap(crowd) {
			if reply := <-crowd; reply == "ok\r\n" {
				waited++
			} else {
				retryIn(t, reply)
			}
		}
		if took := time.Since(began); waited < 6 || waited == cap(crowd) ||
			2*waited > 10+int(math.Ceil(took.Seconds())) {
			t.Errorf("%d of %d were delayed, for up to %v", waited, cap(crowd), took)
		}
	})
	t.Run("tenant", func(t *testing.T) {
		t.Parallel()
		shop, api := h.connectAs(t, "tenant/shop", secret), h.connectAs(t, "tenant/api", secret)
		for range 1000 {
			if _, err := shop.Do("whoami"); err != nil {
				retryIn(t, err.Error())
				break
			}
		}
		retryIn(t, api.Refused("new", "RATELIMITED")) // the rate of all apps together
	})
	for _, tenant := range []string{"creation", "creationd"} {
		t.Run(tenant, func(t *testing.T) {
			t.Parallel()
			c := h.connectAs(t, tenant+"/shop", secret)
			var id string
			for range 3 {
				id = c.OK("new")
				c.OK("put a b")
				c.OK("close")
			}
			retryIn(t, c.Refused("new", "RATELIMITED"))
			c.Refused("open never-seen-before-0", "RATELIMITED")
			c.OK("open " + id) // existing sessions can be used
			c.OK("put a c")
			c.OK("close")
		})
	}
	t.Run("again", func(t *testing.T) {
		t.Parallel()
		c := h.connectAs(t, "again/shop", secret)
		for range 1000 {
			_, err := c.Do("new")
			if err != nil {
				time.Sleep(retryIn(t, err.Error())) // as advised
				c.OK("new")
				return
			}
			c.OK("close")
		}
		t.Error("no command was refused")
	})
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		for range 300 {
			free.OK("new")
			free.OK("put a b")
			free.OK("close")
		}
	})
}

// TestSecurityGuessing checks that a client that guesses secrets is delayed and disconnected. Valid credentials still
// work from the same address.
func TestSecurityGuessing(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{settings: "rates: {auth_failures: {per_second: 0.001, burst: 5}}\n",
		tenants: map[string]string{"acme": tenantFile("", "shop "+secret)}}.serve(t)
	guessed := 0
	for range 3 {
		c := servertest.Connect(t, h.addr)
		for range 20 {
			_, err := c.Do("auth acme/shop wrong")
			if err == nil {
				t.Fatal("a guess was accepted")
			}
			if strings.Contains(err.Error(), "RATELIMITED") {
				retryIn(t, err.Error())
				c.Rest()
				break
			}
			guessed++
		}
	}
	if guessed != 5 {
		t.Errorf("%d guesses were checked, want 5", guessed)
	}
	h.connectAs(t, "acme/shop", secret).OK("new")
}

// TestSecurityEmptyLifetime checks that a session without values expires early, and a session with a value does not.
func TestSecurityEmptyLifetime(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{storage: "{driver: log, path: DIR/state, sweep_interval: 50ms}", tenants: map[string]string{
		"acme": tenantFile("session: {empty_lifetime: 1s, lifetime: 1h}", "shop "+secret),
	}}.serve(t)
	c := h.connectAs(t, "acme/shop", secret)
	fresh, used := c.OK("new"), ""
	c.OK("close")
	used = c.OK("new")
	c.OK("put a b")
	c.OK("close")
	// Opening the session would use it, and counting does not.
	require.Eventually(t, "the empty session has expired", func() bool {
		return strings.Contains(c.OK("whoami"), " sessions=1 ")
	})
	c.Refused("open "+fresh+" s", "NOTFOUND")
	c.OK("open " + used + " r")
}
