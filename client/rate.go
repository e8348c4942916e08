package client

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"sessionserver/wire"
)

// retryIn is when a request beyond a rate may come again, as the server says it.
var retryIn = regexp.MustCompile(`retry in ([0-9]{1,9}) ms`)

// firstPause is how long the first request beyond a rate waits at least. It doubles with each further one, since others
// wait for the same rate, and a client with too many refusals is closed.
const firstPause = 4 * time.Millisecond

// rateWait is how long requests beyond a rate may still wait.
type rateWait struct {
	until time.Time
	pause time.Duration
}

func newRateWait(most time.Duration) *rateWait {
	return &rateWait{until: time.Now().Add(most), pause: firstPause}
}

// wait waits as long as the refusal says, and reports whether it was worth it: not if that is too long.
func (w *rateWait) wait(ctx context.Context, refusal *wire.Error) bool {
	match := retryIn.FindStringSubmatch(refusal.Message)
	if match == nil {
		return false
	}
	ms, _ := strconv.Atoi(match[1])
	least, left := time.Duration(ms)*time.Millisecond, time.Until(w.until)
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	if least >= left {
		return false
	}
	pause := time.NewTimer(min(max(least, w.pause), left))
	defer pause.Stop()
	w.pause *= 2
	select {
	case <-pause.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// beyondRate returns the place of the first request that was refused for a rate, if nothing behind it was done either; or
// -1.
func beyondRate(replies []wire.Reply) int {
	at := -1
	for i, r := range replies {
		switch {
		case r.Err == nil && at >= 0:
			return -1
		case r.Err != nil && at < 0 && r.Err.Code == wire.RateLimited:
			at = i
		}
	}
	return at
}
