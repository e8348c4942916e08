package log

// expiries count how many records expire when, in periods of about a minute, so that the oldest expiry is found
// without visiting records. It is guarded by log.mu.
type expiries map[int64]period

// period is the records that expire in it.
type period struct {
	records int64
	first   int64 // the earliest expiry since the period was empty; the record may be gone
}

const periodBits = 16 // of milliseconds

func (e expiries) add(expires, records int64) {
	key := expires >> periodBits
	p := e[key]
	if p.records == 0 || expires < p.first && records > 0 {
		p.first = expires
	}
	if p.records += records; p.records == 0 {
		delete(e, key)
		return
	}
	e[key] = p
}

// move changes the expiry of one record.
func (e expiries) move(from, to int64) {
	if from>>periodBits == to>>periodBits {
		return // later within the period, so first stays
	}
	e.add(from, -1)
	e.add(to, 1)
}

// oldest returns the earliest expiry after swept, and never if there is none. It may be too early, by a record that
// is gone.
func (e expiries) oldest(swept int64) int64 {
	oldest := int64(never)
	for key, p := range e {
		if (key+1)<<periodBits > swept {
			oldest = min(oldest, max(p.first, swept+1))
		}
	}
	return oldest
}
