package server

import (
	"sync/atomic"

	"golang.org/x/time/rate"

	"sessionserver/wire"
)

// notices tell the log of refusals that an operator wants to know of. Of each kind it hears ten at once and then one a second, with how many
// there were between: whoever makes the server refuse does not fill the log.
type notices map[wire.Code]*notice

type notice struct {
	limiter *rate.Limiter
	untold  atomic.Int64
}

func newNotices() notices {
	n := notices{}
	for _, code := range []wire.Code{
		wire.BadAuth, wire.IPDenied, wire.TLSRequired, wire.Denied, wire.RateLimited, wire.Quota, wire.Unavailable, wire.Protocol,
	} {
		n[code] = &notice{limiter: rate.NewLimiter(1, 10)}
	}
	return n
}

// refused tells that somebody was refused; command is empty if it was not at a command.
func (n notices) refused(c *conn, command string, code wire.Code) {
	notice := n[code]
	if notice == nil {
		return
	}
	if !notice.limiter.Allow() {
		notice.untold.Add(1)
		return
	}
	c.log.Info("refused", "code", code, "command", command, "listener", c.how.Name, "remote", c.remote(),
		"identity", c.info.Identity.String(), "not_logged_before", notice.untold.Swap(0))
}
