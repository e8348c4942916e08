package client

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"sessionserver/wire"
)

// retryDelay matches the delay after which the server accepts a request beyond a rate limit.
var retryDelay = regexp.MustCompile(`retry in ([0-9]{1,9}) ms`)

// firstPause is the minimum wait after the first RATELIMITED reply. The minimum doubles with each further one, since
// other clients wait for the same rate limit, and the server closes a connection with too many errors.
const firstPause = 4 * time.Millisecond

// rateWait is the remaining time in which requests beyond a rate limit may wait.
type rateWait struct {
	deadline time.Time
	pause    time.Duration
}

func newRateWait(limit time.Duration) *rateWait {
	return &rateWait{deadline: time.Now().Add(limit), pause: firstPause}
}

// wait waits for the delay in a RATELIMITED reply, and reports whether the request can be sent again. It returns false
// at once for a delay beyond the remaining time.
func (w *rateWait) wait(ctx context.Context, refusal *wire.Error) bool {
	match := retryDelay.FindStringSubmatch(refusal.Message)
	if match == nil {
		return false
	}
	ms, _ := strconv.Atoi(match[1])
	least, left := time.Duration(ms)*time.Millisecond, time.Until(w.deadline)
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

// firstRateLimited returns the index of the first RATELIMITED reply. It returns -1 if there is none, or if a later
// request succeeded, so that the requests cannot be sent again.
func firstRateLimited(replies []wire.Reply) int {
	index := -1
	for i, r := range replies {
		switch {
		case r.Err == nil && index >= 0:
			return -1
		case r.Err != nil && index < 0 && r.Err.Code == wire.RateLimited:
			index = i
		}
	}
	return index
}
