package session

import "time"

// The idle lifetime slides with use, the absolute lifetime does not, and the earlier end of the two ends a session. The
// store holds the result as the record's expiry.

// idle returns the idle lifetime of the session.
func (r *record) idle(s *Settings) time.Duration {
	idle := s.Lifetime
	if r.lifetime > 0 {
		idle = r.lifetime
	}
	if len(r.values.list) == 0 {
		idle = min(idle, s.EmptyLifetime)
	}
	return idle
}

// end returns the expiry of a session that is used now and has the given idle lifetime.
func (r *record) end(s *Settings, idle time.Duration, now time.Time) time.Time {
	end := now.Add(idle)
	if absolute := r.absoluteEnd(s); !absolute.IsZero() && absolute.Before(end) {
		end = absolute
	}
	return end.Truncate(time.Millisecond)
}

// absoluteEnd returns the expiry of a session however much it is used, or the zero time.
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
