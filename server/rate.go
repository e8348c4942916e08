package server

import (
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sessionserver/audit"
	"sessionserver/wire"
)

// Rates limit the cost of a tenant's commands; see the column Cost of Command.
type Rates struct {
	Tenant  Rate // for all its apps together
	App     Rate // for each app
	Address Rate // for each client address
	// Bytes of requests, of replies, and of sessions that are loaded or saved.
	TenantBytes Rate
	AppBytes    Rate

	// SessionCreation limits the ids that each app creates or requests in vain: 1 for each, besides the command's cost.
	SessionCreation Rate

	OnLimit OnLimit
}

// Rate is a token bucket: PerSecond on average, Burst at once. The zero Rate means unlimited.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Unlimited means unlimited where the zero Rate is replaced with a default.
var Unlimited = Rate{PerSecond: math.Inf(1)}

// OnLimit determines whether a command beyond a rate is refused or delayed.
type OnLimit string

const (
	Reject OnLimit = "reject" // refuses it, with the time after which to retry; the default
	Delay  OnLimit = "delay"  // delays it until the rate allows it, for DelayMax at most
)

// DelayMax is the longest delay of a command. A command that would have to wait longer is refused.
const DelayMax = 5 * time.Second

// BurstMin is the smallest burst of a limited rate: the cost of the most expensive commands.
const BurstMin = 8

func (r Rates) validate() error {
	switch r.OnLimit {
	case "", Reject, Delay:
	default:
		return fmt.Errorf("%s is %.40q (allowed: reject, delay)", "Rates.OnLimit", r.OnLimit)
	}
	for _, f := range []struct {
		name string
		rate Rate
		min  int
	}{
		{"Tenant", r.Tenant, BurstMin}, {"App", r.App, BurstMin}, {"Address", r.Address, BurstMin},
		{"SessionCreation", r.SessionCreation, 1},
		{"TenantBytes", r.TenantBytes, costUnit}, {"AppBytes", r.AppBytes, costUnit},
	} {
		if err := f.rate.validate(f.min); err != nil {
			return fmt.Errorf("%s %w", "Rates."+f.name, err)
		}
	}
	return nil
}

func (r Rate) validate(burstMin int) error {
	if r == (Rate{}) || r == Unlimited {
		return nil
	}
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 1) || r.Burst < burstMin {
		return fmt.Errorf("is %v a second, %d at once (allowed: "+
			"more than 0 a second and at least %d at once, or 0 and 0 for no limit)",
			r.PerSecond, r.Burst, burstMin)
	}
	return nil
}

func (r Rate) limit() rate.Limit {
	if r == (Rate{}) || r == Unlimited {
		return rate.Inf
	}
	return rate.Limit(r.PerSecond)
}

func newLimiter(r Rate) *rate.Limiter { return rate.NewLimiter(r.limit(), r.Burst) }

// limited returns l, or nil if l is unlimited, since calling a limiter takes time.
func limited(l *rate.Limiter) *rate.Limiter {
	if l.Limit() == rate.Inf {
		return nil // it remains unlimited; see carryOver
	}
	return l
}

// setLimiter changes the rate of a limiter in use, and keeps its debt.
func setLimiter(l *rate.Limiter, r Rate) {
	if l.Limit() != r.limit() || l.Burst() != r.Burst {
		l.SetLimit(r.limit())
		l.SetBurst(r.Burst)
	}
}

// carryOver returns the limiter that replaces old, which may be nil, with the debt of old. An unlimited one has no
// debt.
func carryOver(old *rate.Limiter, r Rate) *rate.Limiter {
	if old == nil || old.Limit() == rate.Inf {
		return newLimiter(r)
	}
	setLimiter(old, r)
	return old
}

// limiterKey identifies a limiter of an addressBook.
type limiterKey struct {
	kind    string // name of the tenant, or a constant below
	address string
}

// Kinds of limiters without a tenant. No tenant has such a name.
const (
	authFailures    = "!auth failures"
	unauthenticated = "!unauthenticated"
)

// addressBook holds the limiters of client addresses, whose number is unbounded. It keeps at most bookMax of them,
// besides those in use by connections. A limiter that has been idle long enough to be full is dropped, since a new
// one would be the same.
type addressBook struct {
	mu       sync.Mutex // guards limiters and bucket.holders; locked after Server.mu
	limiters map[limiterKey]*bucket
}

// bucket is the limiter of an address.
type bucket struct {
	*rate.Limiter
	// holders is the number of connections that use the limiter. It must not be replaced while they do, or a new
	// connection of the address would have a rate of its own.
	holders int
}

const (
	bookMax   = 1 << 16
	bookReap  = 4  // examined for each new one, so that more full ones are dropped than new ones are added
	bookEvict = 16 // examined to drop the fullest, when the book is full
)

// limiter returns the limiter of an address, with rate r.
func (b *addressBook) limiter(key limiterKey, r Rate) *rate.Limiter {
	if r.limit() == rate.Inf || key.address == "" {
		return unlimited
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bucket(key, r).Limiter
}

// hold returns the limiter for a connection that uses it until it calls release. It is nil for an unlimited rate.
func (b *addressBook) hold(key limiterKey, r Rate) *bucket {
	if r.limit() == rate.Inf || key.address == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.bucket(key, r)
	held.holders++
	return held
}

func (b *addressBook) release(held *bucket) {
	if held == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	held.holders--
}

// bucket returns the bucket for key, which is created if necessary. The caller holds b.mu.
func (b *addressBook) bucket(key limiterKey, r Rate) *bucket {
	if known := b.limiters[key]; known != nil {
		setLimiter(known.Limiter, r)
		return known
	}
	if b.limiters == nil {
		b.limiters = make(map[limiterKey]*bucket)
	}
	b.reap()
	added := &bucket{Limiter: newLimiter(r)}
	b.limiters[key] = added
	return added
}

var unlimited = newLimiter(Rate{})

// reap drops full limiters, and the fullest of some examined ones if the book is full. So an address at its limit
// stays limited, however many other addresses connect. The iteration of a map begins at a random element. The caller
// holds b.mu.
func (b *addressBook) reap() {
	now := time.Now()
	var fullest limiterKey
	maxShare, examined := -math.MaxFloat64, 0
	for key, l := range b.limiters {
		share := l.TokensAt(now) / float64(l.Burst())
		switch {
		case l.holders > 0:
		case share >= 1:
			delete(b.limiters, key)
			continue
		case share > maxShare:
			fullest, maxShare = key, share
		}
		if examined++; examined == bookEvict || examined >= bookReap && len(b.limiters) < bookMax {
			break
		}
	}
	if len(b.limiters) >= bookMax {
		delete(b.limiters, fullest)
	}
}

// take takes n tokens from a limiter and returns the time to wait for them. If that exceeds waitMax, no token is
// taken. The clock must have been read just now: a limiter that others have used since would earn its tokens twice.
func take(l *rate.Limiter, now time.Time, n int, waitMax time.Duration) (wait time.Duration, ok bool) {
	if l.AllowN(now, n) {
		return 0, true
	}
	r := l.ReserveN(now, n)
	if !r.OK() { // n exceeds the burst; validate only covers the built-in commands
		return time.Hour, false
	}
	if wait = r.DelayFrom(now); wait <= waitMax {
		return wait, true
	}
	r.CancelAt(now)
	return wait, false
}

// loginCost is the cost of an authentication.
const loginCost = 2

// rateLimited returns the refusal of a command by the rate of this scope. The client may retry after wait.
func rateLimited(scope Scope, wait time.Duration) *refusal {
	return &refusal{
		reply: retryIn(wait), gate: gateRates, scope: scope, event: audit.OperationRateLimited, reason: string(scope),
	}
}

func retryIn(wait time.Duration) *wire.Error {
	return wire.Errorf(wire.RateLimited, "retry in %d ms", (wait+time.Millisecond-1)/time.Millisecond)
}

// payLater charges the rates for a cost that may exceed their tokens. The debt delays later commands.
func (a *account) payLater(cost int) {
	now := time.Now()
	for _, l := range a.access.rates[:inBytes] {
		if l != nil {
			take(l, now, cost, math.MaxInt64)
		}
	}
}

// costUnit is the number of transferred bytes that cost 1.
const costUnit = 16 << 10

// debtMax limits the debt of a rate, as the time in which the rate earns it.
const debtMax = time.Minute

// charge charges the rates for the bytes that the connection has transferred, also those of refused requests. It
// refuses nothing. The debt delays later commands.
func (a *account) charge() {
	units := a.moved / costUnit
	if units == 0 {
		return
	}
	a.moved -= units * costUnit
	now := time.Now()
	for i, l := range a.access.rates {
		switch {
		case l == nil:
		case i < inBytes:
			addDebt(l, now, units)
		default:
			addDebt(l, now, units*costUnit)
		}
	}
}

// addDebt takes n tokens from a limiter that may have fewer.
func addDebt(l *rate.Limiter, now time.Time, n int) {
	limit := l.TokensAt(now) + debtMax.Seconds()*float64(l.Limit())
	n = int(min(float64(n), max(limit, 0)))
	for burst := max(l.Burst(), 1); n > 0; n -= burst { // a reservation is for a burst at most
		l.ReserveN(now, min(n, burst))
	}
}

// pay takes the cost from the rates of the client's address, of the app and of the tenant. It waits for them where
// the tenant's rates delay commands. A rate in bytes must have no debt.
func (a *account) pay(cost int, holdBack func(time.Duration) error) error {
	waitMax := a.access.delayMax()
	var now time.Time
	for i, l := range a.access.rates {
		if l == nil {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		if i >= inBytes {
			cost = 0
		}
		wait, ok := take(l, now, cost, waitMax)
		if !ok {
			a.charge() // includes the refused request, so that a retry after wait succeeds
			wait, _ = take(l, time.Now(), cost, 0)
			return rateLimited(a.access.scope(i), wait)
		}
		if wait > 0 {
			if err := holdBack(wait); err != nil {
				return err
			}
			now, waitMax = time.Time{}, waitMax-wait
		}
	}
	return nil
}

// takeSessionCreation takes one new session from the app's rate. It never waits, since the connection may hold a
// lock.
func (c *Call) takeSessionCreation() error {
	if wait, ok := take(c.conn.caller.access.creation, time.Now(), 1, 0); !ok {
		return rateLimited(OfSessionCreation, wait)
	}
	return nil
}
