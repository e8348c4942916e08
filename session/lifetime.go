package session

import "time"

// The idle lifetime slides with use, the absolute one does not, and the earlier of the two ends a session. The store holds the result as the
// record's expiry.

// idle is how long a session lives unused.
func (r *record) idle(s Settings) time.Duration {
	if r.version > 0 && len(r.values.list) == 0 {
		return min(s.FreshLifetime, s.Lifetime)
	}
	if r.lifetime > 0 {
		return r.lifetime
	}
	return s.Lifetime
}

// end is when a session that is used now expires.
func (r *record) end(s Settings, now time.Time) time.Time {
	end := now.Add(r.idle(s))
	if absolute := r.absoluteEnd(s); !absolute.IsZero() && absolute.Before(end) {
		end = absolute
	}
	return end.Truncate(time.Millisecond)
}

// absoluteEnd is when a session expires however much it is used, or zero.
func (r *record) absoluteEnd(s Settings) time.Time {
	if s.AbsoluteLifetime == 0 {
		return time.Time{}
	}
	return r.created.Add(s.AbsoluteLifetime)
}

// touchDue reports whether use at this time is worth writing down: the expiry would move by a tenth of the lifetime or more.
func (r *record) touchDue(s Settings, expires, now time.Time) bool {
	return r.end(s, now).Sub(expires) >= r.idle(s)/10
}
