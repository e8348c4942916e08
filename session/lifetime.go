package session

import "time"

// The idle lifetime slides with use, the absolute one does not, and the earlier of the two ends a session. The store
// holds the result as the record's expiry.

// idle is how long a session lives unused.
func (r *record) idle(s *Settings) time.Duration {
	idle := s.Lifetime
	if r.lifetime > 0 {
		idle = r.lifetime
	}
	if len(r.values.list) == 0 {
		idle = min(idle, s.FreshLifetime)
	}
	return idle
}

// end is when a session that is used now, and lives for idle without use, expires.
func (r *record) end(s *Settings, idle time.Duration, now time.Time) time.Time {
	end := now.Add(idle)
	if absolute := r.absoluteEnd(s); !absolute.IsZero() && absolute.Before(end) {
		end = absolute
	}
	return end.Truncate(time.Millisecond)
}

// absoluteEnd is when a session expires however much it is used, or zero.
func (r *record) absoluteEnd(s *Settings) time.Time {
	if s.AbsoluteLifetime == 0 {
		return time.Time{}
	}
	return r.created.Add(s.AbsoluteLifetime)
}

// outlived reports whether the absolute lifetime is over.
func (r *record) outlived(s *Settings, now time.Time) bool {
	end := r.absoluteEnd(s)
	return !end.IsZero() && !now.Before(end)
}
