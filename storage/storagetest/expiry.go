package storagetest

import (
	"time"

	"sessionserver/storage"
)

// testExpiry checks that a record is gone from the instant of its expiry on, and not earlier.
func testExpiry(f *fixture) {
	k := key("acme", "one")
	r := f.rec("short", 10*time.Millisecond)
	f.put(k, r)
	f.advance(10*time.Millisecond - time.Nanosecond)
	f.want(k, r)
	f.touch(k, r.Expires)
	f.want(k, r)
	f.advance(time.Nanosecond)
	f.wantNone(k)
	f.wantNoTouch(k, f.in(time.Hour)) // an expired record is not brought back
	f.wantNone(k)
	f.delete(k)
	f.wantNone(k)

	// An expiry is truncated to the millisecond.
	fine := storage.Record{Data: []byte("fine"), Expires: f.in(7*time.Millisecond + 999_999*time.Nanosecond)}
	f.put(k, fine)
	f.want(k, fine)
	f.advance(7*time.Millisecond - time.Nanosecond)
	f.want(k, fine)
	f.advance(time.Nanosecond)
	f.wantNone(k)

	// A new record replaces an expired one.
	again := f.rec("again", time.Second)
	f.put(k, again)
	f.want(k, again)

	// A Put of an expired record deletes the previous one.
	for _, ago := range []time.Duration{0, time.Millisecond, time.Hour} {
		f.put(k, again)
		f.put(k, f.rec("too late", -ago))
		f.wantNone(k)
		f.wantNoTouch(k, f.in(time.Hour))
	}
	for _, expires := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.Unix(0, -1)} {
		f.put(k, again)
		f.put(k, storage.Record{Data: []byte("never"), Expires: expires})
		f.wantNone(k)
	}
	f.put(k, again)
	f.want(k, again)
	if f.h.Durable {
		f.reopen()
		f.want(k, again)
		f.put(k, f.rec("too late", -time.Hour))
		f.reopen()
		f.wantNone(k)
		f.put(k, again)
		f.advance(time.Second)
		f.reopen()
		f.wantNone(k)
	}
}

// testExtremeExpiry checks expiries in the far future, which applications use for "never".
func testExtremeExpiry(f *fixture) {
	for _, year := range []int{2038, 2107, 2262, 2300, 9999} {
		k := key("acme", "far")
		far := storage.Record{Data: []byte("far"), Expires: time.Date(year, 12, 31, 23, 59, 59, 999_000_000, time.UTC)}
		f.put(k, far)
		f.want(k, far)
		f.put(k, f.rec("far", time.Second))
		f.touch(k, far.Expires)
		f.want(k, far)
		f.sweep(10)
		f.want(k, far)
		if f.h.Durable {
			f.reopen()
			f.want(k, far)
		}
	}
}

// testTouch checks that Touch moves the expiry later, never earlier, and changes nothing else.
func testTouch(f *fixture) {
	k := key("acme", "one")
	r := f.rec("touched", time.Minute)
	f.put(k, r)
	for _, d := range []time.Duration{-time.Hour, 0, time.Second, time.Minute - time.Millisecond, time.Minute} {
		f.touch(k, f.in(d))
		f.want(k, r)
	}
	f.touch(k, time.Time{})
	f.want(k, r)

	r.Expires = f.in(time.Minute + time.Millisecond)
	f.touch(k, r.Expires)
	f.want(k, r)
	r.Expires = f.in(time.Hour + 999*time.Microsecond) // truncated to the millisecond
	f.touch(k, r.Expires)
	f.want(k, r)
	f.wantUsage("acme", 1, int64(len(r.Data)))

	f.advance(time.Minute) // the first expiry is over
	f.want(k, r)
	if f.h.Durable {
		f.reopen() // only a crash may undo a Touch
		f.want(k, r)
	}
	f.advance(59*time.Minute - time.Nanosecond)
	f.want(k, r)
	f.advance(time.Nanosecond)
	f.wantNone(k)
}

// testMarkers checks that a Marker is a record like any other, but it cannot be touched and does not count.
func testMarkers(f *fixture) {
	k, k2 := key("acme", "one"), key("acme", "two")
	marker := storage.Record{Data: []byte("moved"), Expires: f.in(time.Minute), Marker: true}
	f.put(k, marker)
	f.want(k, marker)
	f.wantUsage("acme", 0, 0)
	f.wantNoTouch(k, f.in(time.Hour))
	f.want(k, marker)

	// A Marker replaces a record, and a record a Marker.
	live := f.rec("live", time.Minute)
	f.put(k2, live)
	f.wantUsage("acme", 1, 4)
	f.put(k2, marker)
	f.want(k2, marker)
	f.wantUsage("acme", 0, 0)
	f.put(k, live)
	f.want(k, live)
	f.wantUsage("acme", 1, 4)
	if f.h.Durable {
		f.reopen()
		f.want(k2, marker)
		f.want(k, live)
		f.wantUsage("acme", 1, 4)
		f.wantNoTouch(k2, f.in(time.Hour))
	}
	f.delete(k2)
	f.wantNone(k2)
	f.wantUsage("acme", 1, 4)

	f.put(k2, marker)
	f.advance(time.Minute)
	f.wantNone(k)
	f.wantNone(k2)
	if removed := f.sweep(10); !f.h.NoSweep && (len(removed) != 1 || removed[k] != 1) {
		f.Errorf("Sweep reported %v, want the record once and the Marker not at all", removed)
	}
	if !f.h.NoSweep {
		f.wantUsage("acme", 0, 0)
	}
}
