package storagetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"sessionserver/storage"
)

// testRecords checks that records are found, replaced and deleted.
func testRecords(f *fixture) {
	k, other := key("acme", "one"), key("acme", "two")
	f.wantNone(k)
	f.wantNoTouch(k, f.in(time.Hour))
	f.wantNone(k) // Touch creates nothing
	f.delete(k)   // deleting an absent record is not an error

	first := f.rec("first", time.Hour)
	f.put(k, first)
	f.want(k, first)
	f.want(k, first) // Get does not remove the record
	f.wantNone(other)

	longer := f.rec("the second is longer than the first", 2*time.Hour)
	f.put(k, longer)
	f.want(k, longer)
	shorter := f.rec("3rd", time.Minute) // Put replaces the expiry as well, also by an earlier one
	f.put(k, shorter)
	f.want(k, shorter)

	f.put(other, first)
	f.delete(k)
	f.wantNone(k)
	f.wantNoTouch(k, f.in(time.Hour))
	f.wantNone(k)
	f.want(other, first)
	f.delete(k)
	f.put(k, longer)
	f.want(k, longer)
}

// testSizes checks records of any bytes and any length.
func testSizes(f *fixture) {
	random := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(random)
	k := key("acme", "size")
	for _, size := range []int{len(random), 0, 1, 2, 4095, 4096, 4097, 65535, 65536, 1 << 20, 3} {
		r := storage.Record{Data: random[:size], Expires: f.in(time.Hour)}
		f.put(k, r)
		f.want(k, r)
		f.wantUsage("acme", 1, int64(size))
	}
	f.put(k, storage.Record{Expires: f.in(time.Hour)}) // nil data is empty data
	f.want(k, storage.Record{Data: []byte{}, Expires: f.in(time.Hour)})
	f.wantUsage("acme", 1, 0)
	zeros := storage.Record{Data: make([]byte, 10_000), Expires: f.in(time.Hour)}
	f.put(k, zeros)
	f.want(k, zeros)
	for _, special := range []string{"\x00", "\r\n", "\xff\xfe", "{}", "a:1:{s:1:\"a\";i:1;}", "\n\n"} {
		f.put(k, f.rec(special, time.Hour))
		f.want(k, f.rec(special, time.Hour))
	}
}

// testCancelled checks that under a context that has ended, a write leaves the old record or the new one, and the new
// one if it returns nil.
func testCancelled(f *fixture) {
	cancelled, cancel := context.WithCancel(f.ctx)
	cancel()
	check := func(op string, err error) bool {
		if err != nil && !errors.Is(err, context.Canceled) {
			f.Errorf("%s with a cancelled context: %v, want nil or context.Canceled", op, err)
		}
		return err == nil
	}
	k, k2 := key("acme", "one"), key("acme", "two")
	older, newer := f.rec("old", time.Hour), f.rec("newer", time.Hour)

	f.put(k, older)
	f.wantEither(check("Put", f.store.Put(cancelled, k, newer)), k, older, newer)
	f.put(k, older)
	f.put(k2, older)
	entries := []storage.Entry{{Key: k, Record: newer}, {Key: k2, Record: newer}}
	done := check("PutAll", storage.PutAll(cancelled, f.store, entries))
	f.wantEither(done, k, older, newer)
	f.wantEither(done, k2, older, newer)

	f.put(k, older)
	longer := storage.Record{Data: older.Data, Expires: f.in(2 * time.Hour)}
	f.wantEither(check("Touch", f.store.Touch(cancelled, k, longer.Expires)), k, older, longer)
	f.put(k, older)
	if check("Delete", f.store.Delete(cancelled, k)) {
		f.wantNone(k)
	}
	f.put(k, older)
	if r, err := f.store.Get(cancelled, k); check("Get", err) {
		if diff := difference(r, older); diff != "" {
			f.Error("Get with a cancelled context: " + diff)
		}
	}
	f.want(k, older)
	if !f.h.NoSweep {
		_, err := storage.Sweep(cancelled, f.store, 10)
		check("Sweep", err)
	}
	if !f.h.NoUsage {
		_, err := storage.UsageOf(cancelled, f.store, "acme")
		check("Usage", err)
		recount := f.recount("acme", k, k2)
		f.wantUsage("acme", recount.Records, recount.Bytes)
	}
}

// wantEither fails the test unless the store has newer under k, or older if the write was not acknowledged.
func (f *fixture) wantEither(acknowledged bool, k storage.Key, older, newer storage.Record) {
	f.Helper()
	got, err := f.store.Get(f.ctx, k)
	if err != nil {
		f.Errorf("Get(%s): %v", show(k), err)
		return
	}
	if difference(got, newer) != "" && (acknowledged || difference(got, older) != "") {
		f.Errorf("Get(%s): data = %s, expires %v; the new record was acknowledged: %t",
			show(k), clip(got.Data), got.Expires, acknowledged)
	}
}

// testOwnership checks that no slice is shared across the border.
func testOwnership(f *fixture) {
	k, k2 := key("acme", "one"), key("acme", "two")
	const text = "what was put"
	want := f.rec(text, time.Hour)

	r := f.rec(text, time.Hour)
	f.put(k, r)
	clear(r.Data)
	f.want(k, want)

	entries := []storage.Entry{{Key: k, Record: f.rec(text, time.Hour)}, {Key: k2, Record: f.rec(text, time.Hour)}}
	if err := storage.PutAll(f.ctx, f.store, entries); err != nil {
		f.Fatalf("PutAll: %v", err)
	}
	for _, e := range entries {
		clear(e.Record.Data)
	}
	clear(entries)
	f.want(k, want)
	f.want(k2, want)

	one, err := f.store.Get(f.ctx, k)
	if err != nil {
		f.Fatalf("Get: %v", err)
	}
	two, err := f.store.Get(f.ctx, k)
	if err != nil {
		f.Fatalf("Get: %v", err)
	}
	clear(one.Data)
	_ = append(one.Data, bytes.Repeat([]byte{1}, cap(one.Data)-len(one.Data))...) // the array is the caller's as well
	if diff := difference(two, want); diff != "" {
		f.Errorf("two Gets share memory: %s", diff)
	}
	f.want(k, want)
	f.want(k2, want)

	if f.h.Durable {
		f.reopen()
		f.want(k, want)
		f.want(k2, want)
	}
}
