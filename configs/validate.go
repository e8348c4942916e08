package configs

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sessionserver/auth"
)

// Validate returns all problems of the configuration that this package can find. It reads nothing but c.
func (c *Config) Validate() Problems {
	v := validator{c: &c.document}
	if len(c.Listen) == 0 {
		v.add("listen", "no listener (allowed: one or more)")
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, l := range c.Listen {
		at := fmt.Sprintf("listen[%d].", i)
		if l.Name == "" || names[l.Name] {
			v.add(at+"name", "%.80q (allowed: a name that no other listener has)", l.Name)
		}
		names[l.Name] = true
		if addresses[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			v.add(at+"address", "%q is the address of another listener, too (allowed: a different address)", l.Address)
		}
		addresses[l.Address] = true
		path, isUnix := strings.CutPrefix(l.Address, "unix:")
		if isUnix && !strings.HasPrefix(path, "/") || !isUnix && !hostPort(l.Address) {
			v.add(at+"address", "%.80q (allowed: host:port, or unix:/path)", l.Address)
		}
		if _, err := auth.ParseIdentity(l.Anonymous); l.Anonymous != "" && err != nil {
			v.add(at+"anonymous", "%v", err)
		}
		v.oneOf(at+"plaintext", l.Plaintext, "loopback", "never", "always")
		if len(l.Proxies) > 0 && isUnix {
			v.add(at+"proxies", "balancers cannot connect to a Unix socket (allowed: nothing)")
		}
		if len(l.Allow) == 0 && !isUnix {
			v.add(at+"allow", "no address is admitted (allowed: address ranges; everybody is 0.0.0.0/0 and ::/0)")
		}
	}
	v.tls(c)
	v.admin(c)

	v.oneOf("storage.sync", c.Storage.Sync, "always", "interval", "never")
	v.within("storage.sync_interval", c.Storage.SyncInterval, time.Millisecond, time.Minute)
	v.within("storage.sweep_interval", c.Storage.SweepInterval, 10*time.Millisecond, time.Hour)
	v.size("storage.max_index", c.Storage.MaxIndex, MiB, 1024*GiB)
	v.number("storage.sweep_batch", int64(c.Storage.SweepBatch), 1, 100_000)
	if c.Storage.Driver != "memory" && c.Storage.Path == "" {
		v.add("storage.path", "missing (allowed: a folder)")
	}

	if c.Session.MaxValue > c.Limits.Value {
		v.add("session.max_value", "%v exceeds limits.value (allowed: up to %v)", c.Session.MaxValue, c.Limits.Value)
	}
	v.session(c.Session)
	v.quotas(c.Quotas)
	v.policy(c.Policy)
	v.rates(c.Rates.Rates)
	v.rate("rates.auth_failures", c.Rates.AuthFailures, 1)
	v.rate("rates.unauthenticated", c.Rates.Unauthenticated, burstMin)
	l := c.Limits
	v.size("limits.line", l.Line, KiB, MiB)
	v.size("limits.value", l.Value, KiB, 16*MiB)
	v.size("limits.request", l.Request, l.Value, 64*MiB)
	v.number("limits.args", int64(l.Args), 16, 16_384)
	v.size("limits.memory", l.Memory, 16*MiB, 1<<50)
	v.number("limits.connections", int64(l.Connections), 1, 10_000_000)
	v.number("limits.connections_per_ip", int64(l.ConnectionsPerIP), 1, 10_000_000)
	v.within("limits.idle_timeout", l.IdleTimeout, time.Second, 24*time.Hour)
	v.within("limits.idle_in_session_timeout", l.IdleInSession, time.Second, 24*time.Hour)
	v.within("limits.login_timeout", l.LoginTimeout, time.Second, time.Hour)
	v.within("limits.request_timeout", l.RequestTimeout, 100*time.Millisecond, time.Hour)
	v.within("limits.write_timeout", l.WriteTimeout, 100*time.Millisecond, time.Hour)
	v.number("limits.error_budget", int64(l.ErrorBudget), 1, 1_000_000)
	v.within("limits.drain_timeout", l.DrainTimeout, time.Millisecond, time.Hour)

	v.audit(c.Audit)
	v.metrics(c.Metrics)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "auto", "text", "json")
	return v.problems
}

// hostPort reports whether address is host:port with a number for the port.
func hostPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	return err == nil && notNumber == nil && n <= 65535
}

// validator collects problems.
type validator struct {
	c        *document
	problems Problems
}

func (v *validator) add(key, format string, args ...any) {
	v.problems = append(v.problems, v.c.Problem(key, format, args...))
}

func (v *validator) quotas(q Quotas) {
	v.number("quotas.sessions", int64(q.Sessions), 0, 1<<50)
	v.size("quotas.bytes", q.Bytes, 0, 1<<50)
	v.number("quotas.connections", int64(q.Connections), 0, 10_000_000)
	v.number("quotas.waiters", int64(q.Waiters), 0, 10_000_000)
	if q.Memory != 0 {
		v.size("quotas.memory", q.Memory, MiB, 1<<50)
	}
}

// burstMin is the minimum burst of a limited rate. It equals server.BurstMin, which this package may not import; a test
// in cmd/sessionserver compares the two.
const burstMin = 8

func (v *validator) rates(r Rates) {
	v.oneOf("rates.on_limit", r.OnLimit, "reject", "delay")
	v.rate("rates.tenant", r.Tenant, burstMin)
	v.rate("rates.app", r.App, burstMin)
	v.rate("rates.address", r.Address, burstMin)
	v.rate("rates.session_creation", r.SessionCreation, 1)
	v.byteRate("rates.tenant_bytes", r.TenantBytes)
	v.byteRate("rates.app_bytes", r.AppBytes)
}

// byteRate requires a burst of at least some pages if the rate is limited.
func (v *validator) byteRate(key string, r ByteRate) {
	const least, most = 16 * KiB, 1024 * GiB
	if r.PerSecond != 0 && (r.PerSecond < KiB || r.PerSecond > most) {
		v.add(key+".per_second", "%v (allowed: %v to %v, or 0 for no limit)", r.PerSecond, KiB, most)
	}
	if r.PerSecond != 0 {
		v.size(key+".burst", r.Burst, least, most)
	}
}

// rate requires a burst of at least least if the rate is limited.
func (v *validator) rate(key string, r Rate, least int64) {
	const most = 1_000_000
	if r.PerSecond != 0 && (r.PerSecond < 0.001 || r.PerSecond > most) {
		v.add(key+".per_second", "%v (allowed: 0.001 to %d, or 0 for no limit)", r.PerSecond, most)
	}
	if r.PerSecond == 0 {
		least = 0
	}
	v.number(key+".burst", int64(r.Burst), least, 10*most)
}

func (v *validator) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(key, "%.80q (allowed: %s)", value, strings.Join(allowed, ", "))
	}
}

func (v *validator) within(key string, d, least, most time.Duration) {
	if d < least || d > most {
		v.add(key, "%v (allowed: %v to %v)", d, least, most)
	}
}

func (v *validator) size(key string, s, least, most Size) {
	if s < least || s > most {
		v.add(key, "%v (allowed: %v to %v)", s, least, most)
	}
}

func (v *validator) number(key string, n, least, most int64) {
	if n < least || n > most {
		v.add(key, "%d (allowed: %d to %d)", n, least, most)
	}
}
