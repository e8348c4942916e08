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

// Rates bound what a tenant's commands may cost; see the column Cost of Command.
type Rates struct {
	Tenant  Rate // of all its apps together
	App     Rate // of each app
	Address Rate // of each client address
	// In bytes that are moved: of requests, of replies, and of sessions that are loaded or saved.
	TenantBytes Rate
	AppBytes    Rate

	SessionCreation Rate // ids that each app makes, or asks for in vain: 1 for each, whatever else the command costs

	OnLimit OnLimit
}

// Rate is a token bucket: PerSecond on average, Burst at once. The zero Rate is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Unlimited is no limit, where the zero Rate is a default.
var Unlimited = Rate{PerSecond: math.Inf(1)}

// OnLimit is what happens to a command beyond a rate.
type OnLimit string

const (
	Reject OnLimit = "reject" // it is refused and told when to come again; the default
	Delay  OnLimit = "delay"  // it waits until the rate has room, for DelayMax at most
)

// DelayMax is the longest that a command is held back; one that had to wait longer is refused.
const DelayMax = 5 * time.Second

// BurstMin is the least that a limited rate lets through at once: what the dearest commands cost.
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
		{"Tenant", r.Tenant, BurstMin}, {"App", r.App, BurstMin}, {"Address", r.Address, BurstMin}, {"SessionCreation", r.SessionCreation, 1},
		{"TenantBytes", r.TenantBytes, costUnit}, {"AppBytes", r.AppBytes, costUnit},
	} {
		if err := f.rate.validate(f.min); err != nil {
			return fmt.Errorf("%s %w", "Rates."+f.name, err)
		}
	}
	return nil
}

func (r Rate) validate(least int) error {
	if r == (Rate{}) || r == Unlimited {
		return nil
	}
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 1) || r.Burst < least {
		return fmt.Errorf("is %v a second, %d at once (allowed: more than 0 a second and at least %d at once, or 0 and 0 for no limit)",
			r.PerSecond, r.Burst, least)
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

// limited is l if it limits anything: asking it costs time.
func limited(l *rate.Limiter) *rate.Limiter {
	if l.Limit() == rate.Inf {
		return nil // and will never limit anything; see carryOn
	}
	return l
}

// setLimiter changes a limiter that is in use; what was taken from it stays taken.
func setLimiter(l *rate.Limiter, r Rate) {
	if l.Limit() != r.limit() || l.Burst() != r.Burst {
		l.SetLimit(r.limit())
		l.SetBurst(r.Burst)
	}
}

// carryOn is the limiter that comes after old, which may be nil. Where nothing was limited nothing was taken.
func carryOn(old *rate.Limiter, r Rate) *rate.Limiter {
	if old == nil || old.Limit() == rate.Inf {
		return newLimiter(r)
	}
	setLimiter(old, r)
	return old
}

// rated is whom a limiter of an addressBook is for.
type rated struct {
	kind    string // what is limited: a tenant's name, or one of the two below
	address string
}

// No tenant is called so.
const (
	authFailures    = "!auth failures"
	unauthenticated = "!unauthenticated"
)

// addressBook holds the limiters of client addresses, of which there can be any number: at most bookMax are kept beside those that connections
// hold, and those that have been idle long enough to be full, as a new one would be, are let go.
type addressBook struct {
	mu       sync.Mutex // guards what follows, and bucket.holders; comes after Server.mu
	limiters map[rated]*bucket
}

// bucket is the limiter of an address.
type bucket struct {
	*rate.Limiter
	holders int // connections that go on using it: with another one in its place for the next connection, each would have a rate of its own
}

const (
	bookMax   = 1 << 16
	bookReap  = 4  // looked at for each that is added: more full ones leave than new ones come
	bookEvict = 16 // looked at to find the fullest, when there is no room
)

// limiter returns the limiter for an address, as r wants it.
func (b *addressBook) limiter(who rated, r Rate) *rate.Limiter {
	if r.limit() == rate.Inf || who.address == "" {
		return unlimited
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bucket(who, r).Limiter
}

// hold is limiter for a connection that goes on using it until it calls letGo. Where there is no limit there is nothing to hold.
func (b *addressBook) hold(who rated, r Rate) *bucket {
	if r.limit() == rate.Inf || who.address == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.bucket(who, r)
	held.holders++
	return held
}

func (b *addressBook) letGo(held *bucket) {
	if held == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	held.holders--
}

// bucket finds or makes one. The caller holds b.mu.
func (b *addressBook) bucket(who rated, r Rate) *bucket {
	if known := b.limiters[who]; known != nil {
		setLimiter(known.Limiter, r)
		return known
	}
	if b.limiters == nil {
		b.limiters = make(map[rated]*bucket)
	}
	b.reap()
	added := &bucket{Limiter: newLimiter(r)}
	b.limiters[who] = added
	return added
}

var unlimited = newLimiter(Rate{})

// reap lets go of limiters that are full, and of the fullest of some if there is no more room: whoever is at their limit stays there, however
// many others come. A map's iteration begins anywhere. The caller holds b.mu.
func (b *addressBook) reap() {
	now := time.Now()
	var fullest rated
	most, examined := -math.MaxFloat64, 0
	for who, l := range b.limiters {
		share := l.TokensAt(now) / float64(l.Burst())
		switch {
		case l.holders > 0:
		case share >= 1:
			delete(b.limiters, who)
			continue
		case share > most:
			fullest, most = who, share
		}
		if examined++; examined == bookEvict || examined >= bookReap && len(b.limiters) < bookMax {
			break
		}
	}
	if len(b.limiters) >= bookMax {
		delete(b.limiters, fullest)
	}
}

// take takes n from a limiter, and answers how long whoever takes it has to wait for that. If that is longer than most, nothing is taken.
func take(l *rate.Limiter, n int, most time.Duration) (wait time.Duration, ok bool) {
	now := time.Now()
	if l.AllowN(now, n) {
		return 0, true
	}
	r := l.ReserveN(now, n)
	if !r.OK() { // n is more than the burst: validate knows the built-in commands only
		return time.Hour, false
	}
	if wait = r.DelayFrom(now); wait <= most {
		return wait, true
	}
	r.CancelAt(now)
	return wait, false
}

// loginCost is what it costs to authenticate.
const loginCost = 2

// rateLimited returns the refusal of a command by the rate of this scope. The command may come again after wait.
func rateLimited(scope Scope, wait time.Duration) *refusal {
	return &refusal{
		reply: retryIn(wait), gate: gateRates, scope: scope, event: audit.OperationRateLimited, reason: string(scope),
	}
}

func retryIn(wait time.Duration) *wire.Error {
	return wire.Errorf(wire.RateLimited, "retry in %d ms", (wait+time.Millisecond-1)/time.Millisecond)
}

// payLater charges the rates for a cost although they may have less. Later commands have to wait.
func (a *account) payLater(cost int) {
	for _, l := range a.access.rates[:inBytes] {
		if l != nil {
			take(l, cost, math.MaxInt64)
		}
	}
}

// costUnit is how many bytes that are moved cost 1.
const costUnit = 16 << 10

// debtMax bounds what a rate is in debt: to so much of what it lets through.
const debtMax = time.Minute

// charge takes the bytes that the connection has moved from its rates, as a debt. It refuses nothing, since the bytes
// have been moved, also those of a request that was refused. Later commands have to wait.
func (a *account) charge() {
	units := a.moved / costUnit
	if units == 0 {
		return
	}
	a.moved -= units * costUnit
	for i, l := range a.access.rates {
		switch {
		case l == nil:
		case i < inBytes:
			owe(l, units)
		default:
			owe(l, units*costUnit)
		}
	}
}

// owe takes n from a limiter although there may be less.
func owe(l *rate.Limiter, n int) {
	now := time.Now()
	most := l.TokensAt(now) + debtMax.Seconds()*float64(l.Limit())
	n = int(min(float64(n), max(most, 0)))
	for burst := max(l.Burst(), 1); n > 0; n -= burst { // a reservation is for a burst at most
		l.ReserveN(now, min(n, burst))
	}
}

// pay takes a cost from the rates of the client's address, of the app and of the tenant. It waits for them where the
// tenant's rates delay commands. Rates in bytes must not be in debt.
func (a *account) pay(cost int, holdBack func(time.Duration) error) error {
	most := a.access.delayMax()
	for i, l := range a.access.rates {
		if l == nil {
			continue
		}
		if i >= inBytes {
			cost = 0
		}
		wait, ok := take(l, cost, most)
		if !ok {
			a.charge() // also the bytes of the request that is refused: the client can retry when they are paid for
			wait, _ = take(l, cost, 0)
			return rateLimited(a.access.scope(i), wait)
		}
		if wait > 0 {
			if err := holdBack(wait); err != nil {
				return err
			}
			most -= wait
		}
	}
	return nil
}

// takeSessionCreation takes one new session from the app's rate. It never waits: a lock may be held.
func (c *Call) takeSessionCreation() error {
	if wait, ok := take(c.conn.caller.access.creation, 1, 0); !ok {
		return rateLimited(OfSessionCreation, wait)
	}
	return nil
}
