package storagetest

import (
	"sync/atomic"
	"time"
)

// clock is the time that a store under test sees. It does not move until a test advances it.
type clock struct{ ns atomic.Int64 }

// epoch is the start of every clock. It is not a whole second, so that a driver that truncates milliseconds is
// found.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func newClock() *clock {
	c := new(clock)
	c.ns.Store(epoch.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// in returns the time d from now.
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }
