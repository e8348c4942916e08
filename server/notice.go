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

// undecided is the kind of refusals that a policy has not decided upon. No client sees it.
const undecided wire.Code = "undecided"

func newNotices() notices {
	n := notices{}
	for _, code := range []wire.Code{
		undecided, wire.BadAuth, wire.IPDenied, wire.TLSRequired, wire.Denied, wire.RateLimited, wire.Quota, wire.Unavailable, wire.Protocol,
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
	if untold, tell := notice.take(); tell {
		c.log.Info("refused", "code", code, "command", command, "listener", c.how.Name, "remote", c.remote(),
			"identity", c.info.Identity, "not_logged_before", untold)
	}
}

// undecided tells that the policy gave no decision, which it can fail to do once for each key of a session.
func (n notices) undecided(c *conn, command string, err error) {
	if untold, tell := n[undecided].take(); tell {
		c.log.Error("the policy came to no decision: refused", "command", command, "identity", c.info.Identity, "err", err, "not_logged_before", untold)
	}
}

// take reports whether the log is to hear of one more, and how many it has not heard of before that.
func (n *notice) take() (untold int64, tell bool) {
	if !n.limiter.Allow() {
		n.untold.Add(1)
		return 0, false
	}
	return n.untold.Swap(0), true
}
