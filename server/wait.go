package server

import (
	"context"
	"time"
)

// waitForLock is called when an open waits for a lock, with its place in the queue taken.
func (c *conn) waitForLock(ctx context.Context) (context.Context, func()) {
	return c.interruptible(ctx, "waiting for a lock")
}

// holdBack waits for a rate.
func (c *conn) holdBack(wait time.Duration) error {
	return c.account.blocking(func() error {
		ctx, stop := c.interruptible(c.server.ctx, "held back by a rate")
		defer stop()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// interruptible is called before a command waits. The collected replies are sent, and others have their turn. The
// returned context ends if the peer leaves, the credentials are revoked, or the server drains.
func (c *conn) interruptible(ctx context.Context, reason string) (context.Context, func()) {
	c.account.exit()
	c.account.exitBulk()
	c.log.Debug(reason)
	ctx, cancel := context.WithCancelCause(ctx)
	stopRevoked := c.caller.onRevoked(cancel)
	if c.transport.flush() != nil {
		cancel(errPeerLeft)
	}
	ctx, stopWatching := c.transport.watch(ctx)
	stopDraining := context.AfterFunc(c.server.draining, func() { cancel(errShutdown) })
	return ctx, func() {
		stopDraining()
		stopWatching()
		stopRevoked()
		cancel(nil)
	}
}
