package storagetest

import (
	"sync/atomic"
	"time"
)

// clock is the time that a store under test sees. It stands still until a test advances it.
type clock struct{ ns atomic.Int64 }

// epoch is where every clock starts: at no round second, so that a driver that drops milliseconds is found out.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func newClock() *clock {
	c := new(clock)
	c.ns.Store(epoch.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// in answers the time d from now.
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }
