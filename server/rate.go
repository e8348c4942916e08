package server

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sessionserver/wire"
)

// Rates bound what a tenant's commands may cost; see the column Cost of Command.
type Rates struct {
	Tenant  Rate // of all its apps together
	App     Rate // of each app
	Address Rate // of each client address
	Mint    Rate // sessions that each app makes: 1 for each, whatever else the command costs

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
		return fmt.Errorf("Rates.OnLimit is %.40q (allowed: reject, delay)", r.OnLimit)
	}
	for _, f := range []struct {
		name string
		rate Rate
		min  int
	}{{"Tenant", r.Tenant, BurstMin}, {"App", r.App, BurstMin}, {"Address", r.Address, BurstMin}, {"Mint", r.Mint, 1}} {
		if err := f.rate.validate(f.min); err != nil {
			return fmt.Errorf("Rates.%s %w", f.name, err)
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

// setLimiter changes a limiter that is in use; what was taken from it stays taken.
func setLimiter(l *rate.Limiter, r Rate) {
	if l.Limit() != r.limit() || l.Burst() != r.Burst {
		l.SetLimit(r.limit())
		l.SetBurst(r.Burst)
	}
}

// rated is whom a limiter of an addressBook is for.
type rated struct {
	kind    string // what is limited: a tenant's name, or one of the two below
	address string
}

// No tenant is called so.
const (
	authFailures = "!auth failures"
	strangers    = "!strangers"
)

// addressBook holds the limiters of client addresses, of which there can be any number: at most bookMax are kept, and those that have been
// idle long enough to be full, as a new one would be, are let go.
type addressBook struct {
	mu       sync.Mutex
	limiters map[rated]*rate.Limiter
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
	if l := b.limiters[who]; l != nil {
		setLimiter(l, r)
		return l
	}
	if b.limiters == nil {
		b.limiters = make(map[rated]*rate.Limiter)
	}
	b.reap()
	l := newLimiter(r)
	b.limiters[who] = l
	return l
}

var unlimited = newLimiter(Rate{})

// reap lets go of limiters that are full, and of the fullest of some if there is no more room: whoever is at their limit stays there, however
// many others come. A map's iteration begins anywhere. The caller holds b.mu.
func (b *addressBook) reap() {
	now := time.Now()
	var fullest rated
	most, seen := -math.MaxFloat64, 0
	for who, l := range b.limiters {
		share := l.TokensAt(now) / float64(l.Burst())
		if share >= 1 {
			delete(b.limiters, who)
			continue
		}
		if share > most {
			fullest, most = who, share
		}
		if seen++; seen == bookEvict || seen >= bookReap && len(b.limiters) < bookMax {
			break
		}
	}
	if len(b.limiters) >= bookMax {
		delete(b.limiters, fullest)
	}
}

// take takes n from a limiter. If there is not enough it answers how long that takes; indebted takes it all the same, so that what comes after
// has to wait.
func take(l *rate.Limiter, n int, indebted bool) (wait time.Duration) {
	now := time.Now()
	if l.AllowN(now, n) {
		return 0
	}
	r := l.ReserveN(now, n)
	if indebted {
		return 0
	}
	if !r.OK() { // n is more than the burst: validate knows the built-in commands only
		return time.Hour
	}
	wait = r.DelayFrom(now)
	r.CancelAt(now)
	return max(wait, time.Millisecond)
}

// loginCost is what it costs to authenticate.
const loginCost = 2

// rateLimited is the refusal of a command that may come again after wait.
func rateLimited(wait time.Duration) error {
	return wire.Errorf(wire.RateLimited, "retry in %d ms", (wait+time.Millisecond-1)/time.Millisecond)
}

// admitRate takes what the command costs. One that lets go of a session is charged for and never refused: nobody else would get its lock
// sooner for that.
func admitRate(c *Call) error {
	return c.conn.charge(c.Command.Cost, c.Command.Releases)
}

// charge takes a cost from the rates of the client's address, of the app and of the tenant, waiting for it if the tenant is set so.
func (c *conn) charge(cost int, indebted bool) error {
	for _, l := range c.access.rates {
		for l != nil {
			wait := take(l, cost, indebted)
			if wait == 0 {
				break
			}
			if c.access.onLimit() != Delay || wait > DelayMax {
				return rateLimited(wait)
			}
			if err := c.holdBack(wait); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdBack waits, unless the peer leaves or the server drains.
func (c *conn) holdBack(wait time.Duration) error {
	ctx, stop := c.onWait(c.server.ctx, "held back by a rate")
	defer stop()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mint takes one new session from the app's rate. It never waits: a lock may be held.
func (c *Call) mint() error {
	if wait := take(c.conn.access.mint, 1, false); wait > 0 {
		return rateLimited(wait)
	}
	return nil
}
