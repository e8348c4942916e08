package pebble

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// edit is one write while it is put together: changes of records, each with what it means for the expiry index and the
// usage, in one batch of Pebble, which is applied as a whole or not at all.
//
// Life: begin; with the stripes of its keys held: set, move, remove, then apply; without them: wait; at last: end.
type edit struct {
	s       *Store
	batch   *pebbledb.Batch
	synced  bool // whether wait has something to wait for
	changes []change
	indexed int64 // the earliest new entry of the expiry index
}

// change is what a record's header was and becomes.
type change struct {
	st       *stripe
	tenant   *tenant
	key      headerKey
	old, new header
	had, has bool
}

var edits = sync.Pool{New: func() any { return new(edit) }}

func (s *Store) begin() *edit {
	e := edits.Get().(*edit)
	e.s, e.batch, e.synced, e.indexed = s, s.db.NewBatch(), false, math.MaxInt64
	return e
}

func (e *edit) end() {
	// A batch that Pebble still refers to, after an error, is left to the garbage collector by Close itself.
	_ = e.batch.Close()
	clear(e.changes)
	e.s, e.batch, e.changes = nil, nil, e.changes[:0]
	edits.Put(e)
}

// set writes rec in place of what is under k. A damaged record is replaced like one that is not there.
func (e *edit) set(k storage.Key, rec storage.Record) error {
	expires := rec.Expires.UnixMilli()
	if expires <= e.s.now().UnixMilli() {
		return e.remove(k)
	}
	c, err := e.look(k)
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	err = nil
	c.new = header{expires: expires, indexed: expires, size: uint32(len(rec.Data)), marker: rec.Marker}
	c.has = true
	if c.had && c.old.indexed <= expires {
		// The old entry leads the sweeper here early enough; it will be moved on then. So a session that is saved again
		// and again costs one index entry in its lifetime, not one each time.
		c.new.indexed = c.old.indexed
	} else {
		if c.had {
			err = e.unindex(c.old.indexed, k)
		}
		if err := errors.Join(err, e.index(expires, k)); err != nil {
			return err
		}
	}
	var buf [maxKeyLen]byte
	rk := appendRecordKey(buf[:0], k)
	op := e.batch.SetDeferred(len(rk), headerLen+len(rec.Data))
	copy(op.Key, rk)
	putRecord(op.Value, c.new, rec.Data)
	if err := op.Finish(); err != nil {
		return err
	}
	e.changes = append(e.changes, c)
	return nil
}

// remove deletes what is under k. Of a damaged record the index entry stays, for the sweeper to drop, and so does its
// share of the usage.
func (e *edit) remove(k storage.Key) error {
	c, err := e.look(k)
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if !c.had && err == nil {
		return nil
	}
	return e.drop(c, k)
}

// drop deletes the record that c was looked up for.
func (e *edit) drop(c change, k storage.Key) error {
	if c.had {
		if err := e.unindex(c.old.indexed, k); err != nil {
			return err
		}
	}
	e.changes = append(e.changes, c)
	var buf [maxKeyLen]byte
	return e.batch.Delete(appendRecordKey(buf[:0], k), nil)
}

// move raises the expiry and the indexed time of the record that c was looked up for; 0 leaves one alone. Moving the
// index entry itself is the caller's.
func (e *edit) move(c change, k storage.Key, expires, indexed int64) error {
	c.new, c.has = c.old, true
	c.new.expires, c.new.indexed = max(c.old.expires, expires), max(c.old.indexed, indexed)
	var kb [maxKeyLen]byte
	var vb [moveLen]byte
	if err := e.batch.Merge(appendRecordKey(kb[:0], k), appendMove(vb[:0], expires, indexed), nil); err != nil {
		return err
	}
	e.changes = append(e.changes, c)
	return nil
}

// look answers the change that has not been decided yet for the record under k.
func (e *edit) look(k storage.Key) (change, error) {
	t := e.s.tenants.get(k.Tenant)
	c := change{st: e.s.stripe(k.ID), tenant: t, key: headerKey{t.number, k.ID}}
	var err error
	c.old, c.had, err = e.s.header(c.st, t, k)
	if errors.Is(err, storage.ErrCorrupt) {
		e.s.log.Error("damaged record", "tenant", k.Tenant, "err", err)
	}
	return c, err
}

func (e *edit) index(at int64, k storage.Key) error {
	var buf [maxKeyLen]byte
	e.indexed = min(e.indexed, at)
	return e.batch.Set(appendIndexKey(buf[:0], at, k), nil, nil)
}

func (e *edit) unindex(at int64, k storage.Key) error {
	var buf [maxKeyLen]byte
	return e.batch.Delete(appendIndexKey(buf[:0], at, k), nil)
}

// apply makes the edit visible. With sync set it must be waited for until it is durable.
func (e *edit) apply(sync bool) error {
	for _, c := range e.changes {
		if err := e.count(c); err != nil {
			return err
		}
	}
	if e.batch.Empty() {
		return nil
	}
	var err error
	if sync {
		err = e.s.db.ApplyNoSyncWait(e.batch, pebbledb.Sync)
		e.synced = err == nil
	} else {
		err = e.s.db.Apply(e.batch, pebbledb.NoSync)
	}
	if err != nil {
		// What memory and disk hold may differ from here on.
		e.s.disk.fail("apply", "", err)
		return err
	}
	var delta storage.Usage
	for i, c := range e.changes {
		delta = plus(delta, c.delta())
		if i == len(e.changes)-1 || e.changes[i+1].tenant != c.tenant { // nobody is to see the sums in between
			c.tenant.add(delta)
			delta = storage.Usage{}
		}
		if c.has {
			e.s.remember(c.st, c.key, c.new)
		} else {
			delete(c.st.headers, c.key)
		}
		c.st.writes.Add(1)
	}
	e.s.sweeper.inserted(e.indexed)
	return nil
}

// wait returns when the edit is durable, or the store has failed. No stripe is held, so that the writers of a stripe
// share a sync like all others.
func (e *edit) wait() error {
	if !e.synced {
		return nil
	}
	if err := e.batch.SyncWait(); err != nil {
		e.s.disk.fail("sync", "", err)
	}
	// The disk hides its failures from Pebble (disk.go), so this is where they are seen.
	return e.s.Err()
}

// count writes what c means for its tenant's usage.
func (e *edit) count(c change) error {
	d := c.delta()
	if d == (storage.Usage{}) {
		return nil
	}
	var kb [1 + maxTenant]byte
	var vb [2 * binary.MaxVarintLen64]byte
	return e.batch.Merge(appendUsageKey(kb[:0], c.tenant.name), appendUsage(vb[:0], d), nil)
}

func (c change) delta() storage.Usage {
	var d storage.Usage
	if c.has {
		d = c.new.usage()
	}
	if c.had {
		old := c.old.usage()
		d.Records, d.Bytes = d.Records-old.Records, d.Bytes-old.Bytes
	}
	return d
}
