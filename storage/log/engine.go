package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"sessionserver/storage"
)

// engine is the store from one opening of its folder to the next: the index and the log.
type engine struct {
	opts    *Options
	index   *index
	tenants tenants
	log     log
	sweep   sweep

	damaged func(segment uint64, offset int) // reports a damaged frame
	counts  *counts

	stop context.CancelFunc // ends the goroutines
	jobs sync.WaitGroup     // the goroutines
}

func (e *engine) now() int64 { return e.opts.Now().UnixMilli() }

func (e *engine) shard(id *storage.ID) *shard { return &e.index.shards[e.index.shardOf(id)] }

// errMoved reports that a frame is not where it was: its segment was cleaned meanwhile.
var errMoved = errors.New("the frame was moved")

func (e *engine) get(ctx context.Context, key *storage.Key) (storage.Record, error) {
	for {
		s, err := e.look(ctx, key)
		if err != nil {
			return storage.Record{}, err
		}
		data, err := e.read(s.pos, key, int(s.size), s.is(slotDamaged))
		if err == errMoved && ctx.Err() == nil {
			continue
		}
		if errors.Is(err, storage.ErrCorrupt) && !e.still(key, s.pos) {
			continue // the file has another segment now
		}
		if err != nil {
			return storage.Record{}, err
		}
		return storage.Record{Data: data, Expires: time.UnixMilli(s.expires()), Marker: s.is(slotMarker)}, nil
	}
}

// look returns a copy of the slot of a live record. It waits until whatever it reports is durable.
func (e *engine) look(ctx context.Context, key *storage.Key) (slot, error) {
	t := e.tenants.lookup(key.Tenant)
	if t == nil {
		return slot{}, storage.ErrNotFound
	}
	var s slot
	sh := e.shard(&key.ID)
	sh.mu.Lock()
	if found := sh.find(&key.ID, t.number); found != nil {
		s = *found
	}
	touched := sh.touched
	sh.mu.Unlock()
	newest := s.pos // frame that the result depends on
	if s.is(slotTouched) {
		newest = max(newest, touched)
	}
	if t.absent(&s) {
		newest, s = position(t.dropped.Load()), slot{}
	}
	if newest != 0 {
		if err := e.log.settled(ctx, newest); err != nil {
			return slot{}, err
		}
	}
	if s.pos == 0 || s.is(slotDeleted) || s.expires() <= e.now() {
		return slot{}, storage.ErrNotFound
	}
	return s, nil
}

// still reports whether the newest frame of a record lies at p.
func (e *engine) still(key *storage.Key, p position) bool {
	t := e.tenants.lookup(key.Tenant)
	sh := e.shard(&key.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.find(&key.ID, t.number)
	return s != nil && s.pos == p
}

// read returns the data of the record at p, which is durable.
func (e *engine) read(p position, key *storage.Key, size int, damaged bool) ([]byte, error) {
	s := e.log.segments.Load().find(p.segment())
	if s == nil {
		return nil, errMoved
	}
	if damaged {
		return nil, e.corrupt(p)
	}
	if page := s.held(p.offset()); page != nil {
		defer page.release()
		from := p.offset() - page.offset + frameHead + len(key.Tenant)
		e.counts.memoryReads.Add(1)
		return append(make([]byte, 0, size), page.buf[from:from+size]...), nil
	}
	e.counts.diskReads.Add(1)
	b := make([]byte, frameLength(len(key.Tenant), size))
	if _, err := s.file.ReadAt(b, int64(p.offset())); err != nil {
		if errors.Is(err, os.ErrClosed) {
			return nil, errMoved
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("log: read %s at %d: %w", segmentName(s.number), p.offset(), err)
		}
	}
	f, ok := e.log.seal.parseHead(b, p)
	if !ok || f.length != len(b) || f.id != key.ID || string(f.tenant) != key.Tenant || !f.fill(b) {
		return nil, e.corrupt(p)
	}
	return f.data, nil
}

func (e *engine) corrupt(p position) error {
	e.damaged(p.segment(), p.offset())
	return fmt.Errorf("%w: %s at %d", storage.ErrCorrupt, segmentName(p.segment()), p.offset())
}

// copyLimit is the length of data that is copied into the log under its mutex. Longer data is copied after that, so
// that it delays no other append.
const copyLimit = 64 << 10

func (e *engine) put(ctx context.Context, key *storage.Key, rec *storage.Record) error {
	if err := checkSize(key, rec); err != nil {
		return err
	}
	t := e.tenants.get(key.Tenant)
	f := frame{kind: kindRecord, id: key.ID, expires: rec.Expires.UnixMilli(), size: len(rec.Data),
		dataSum: dataSum(rec.Data)}
	if rec.Marker {
		f.flags = flagMarker
	}
	for {
		if f.expires <= e.now() {
			return e.delete(ctx, key)
		}
		g, err := e.tryPut(t, &f, rec.Data)
		if err == nil {
			return e.log.commit(g)
		}
		if err := e.log.await(ctx, err); err != nil {
			return err
		}
	}
}

func checkSize(key *storage.Key, rec *storage.Record) error {
	if len(rec.Data) > dataLimit {
		return fmt.Errorf("log: a record of %d bytes is too large (at most %d)", len(rec.Data), dataLimit)
	}
	if len(key.Tenant) > 255 {
		return fmt.Errorf("log: a tenant's name of %d bytes is too long (at most 255)", len(key.Tenant))
	}
	return nil
}

func (e *engine) tryPut(t *tenant, f *frame, data []byte) (*group, error) {
	r, late, err := e.appendRecord(t, f, data)
	if err != nil {
		return nil, err
	}
	if late {
		copy(r.buf[frameHead+len(t.name):], data)
		r.group.copies.Done()
	}
	return r.group, nil
}

// appendRecord appends the frame of a record and lets the index point to it. If late is true the caller still copies
// the data.
func (e *engine) appendRecord(t *tenant, f *frame, data []byte) (r room, late bool, err error) {
	sh := e.shard(&f.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.find(&f.id, t.number)
	if s == nil {
		if err := sh.grow(1, e.limit(f)); err != nil {
			return room{}, false, err
		}
	}
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err = l.claim(frameLength(len(t.name), f.size), f.class())
	if err != nil {
		return room{}, false, err
	}
	if late = f.size > copyLimit; late {
		r.group.copies.Add(1)
	} else {
		f.data = data
	}
	l.put(&r, f, t.name)
	e.set(sh, s, t, f, r.pos)
	return r, late, nil
}

func (e *engine) limit(f *frame) int64 {
	if f.flags&flagMarker != 0 {
		return 0
	}
	return e.opts.MaxIndexBytes
}

// class of a frame: tombstones make room.
func (f *frame) class() class {
	if f.kind == kindRecord && f.flags&flagMarker == 0 {
		return ordinary
	}
	return urgent
}

// set lets the index point to the record that was appended at p. The caller holds the shard and the log; s is the
// record's slot so far, or nil.
func (e *engine) set(sh *shard, s *slot, t *tenant, f *frame, p position) {
	if s == nil {
		s = sh.insert(&f.id, t.number)
	} else if !s.is(slotDeleted) {
		e.log.account(t, s, -1)
	}
	s.pos, s.size, s.flags = p, uint32(f.size), uint16(f.flags&flagMarker)
	if f.kind == kindDamaged {
		s.flags |= slotDamaged
	}
	s.setExpires(f.expires)
	e.log.account(t, s, 1)
}

// unset frees a slot. The caller holds the shard and the log.
func (e *engine) unset(sh *shard, s *slot, t *tenant) {
	if !s.is(slotDeleted) {
		e.log.account(t, s, -1)
	}
	sh.remove(sh.place(s))
}

func (e *engine) touch(ctx context.Context, key *storage.Key, expires time.Time) error {
	f := frame{kind: kindTouch, id: key.ID, expires: clampExpiry(expires.UnixMilli()), dataSum: dataSum(nil)}
	for {
		s, err := e.look(ctx, key)
		if err != nil {
			return err
		}
		if s.is(slotMarker) {
			return storage.ErrNotFound
		}
		if f.expires <= s.expires() {
			return nil
		}
		g, err := e.tryTouch(e.tenants.lookup(key.Tenant), &f)
		if err == nil {
			return e.log.commit(g)
		}
		if errors.Is(err, ErrFull) { // the record lives on, as if it were not used
			return nil
		}
		if err == errMoved {
			continue
		}
		if err := e.log.await(ctx, err); err != nil {
			return err
		}
	}
}

func (e *engine) tryTouch(t *tenant, f *frame) (*group, error) {
	sh := e.shard(&f.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sh.find(&f.id, t.number)
	if s == nil || t.absent(s) || s.flags&(slotDeleted|slotMarker) != 0 || s.expires() <= e.now() ||
		f.expires <= s.expires() {
		return nil, errMoved // it has changed since the look
	}
	r, err := l.claim(frameLength(len(t.name), 0), urgent)
	if err != nil {
		return nil, err
	}
	l.put(&r, f, t.name)
	l.expiries.move(s.expires(), f.expires)
	s.setExpires(f.expires)
	s.flags |= slotTouched
	sh.touched = r.pos
	return r.group, nil
}

func (e *engine) delete(ctx context.Context, key *storage.Key) error {
	t := e.tenants.lookup(key.Tenant)
	if t == nil {
		return nil
	}
	f := frame{kind: kindDelete, id: key.ID, dataSum: dataSum(nil)}
	for {
		p, g, err := e.tryDelete(t, &f)
		if err == nil && g == nil {
			return e.log.settled(ctx, p)
		}
		if err == nil {
			if err = e.log.commit(g); err == nil {
				e.forget(t, &key.ID, p)
			}
			return err
		}
		if err := e.log.await(ctx, err); err != nil {
			return err
		}
	}
}

// tryDelete appends a delete if there is something to delete. Otherwise it returns no group, and the position of the
// frame that has deleted it.
func (e *engine) tryDelete(t *tenant, f *frame) (position, *group, error) {
	sh := e.shard(&f.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sh.find(&f.id, t.number)
	switch {
	case l.failed != nil:
		return 0, nil, l.failed
	case s == nil || t.absent(s):
		return position(t.dropped.Load()), nil, nil
	case s.is(slotDeleted):
		return s.pos, nil, nil
	}
	r, err := l.claim(frameLength(len(t.name), 0), urgent)
	if err != nil {
		return 0, nil, err
	}
	l.put(&r, f, t.name)
	l.account(t, s, -1)
	s.pos, s.flags = r.pos, slotDeleted
	return r.pos, r.group, nil
}

// forget frees the slot of a record whose deletion at p is durable.
func (e *engine) forget(t *tenant, id *storage.ID, p position) {
	sh := e.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s := sh.find(id, t.number); s != nil && s.pos == p {
		sh.remove(sh.place(s))
	}
}

// putAll writes entries as a chain of frames, of which a crash leaves all or none.
func (e *engine) putAll(ctx context.Context, entries []storage.Entry) error {
	entries = newest(entries)
	switch len(entries) {
	case 0:
		return e.log.failure()
	case 1:
		return e.put(ctx, &entries[0].Key, &entries[0].Record)
	}
	c := chain{frames: make([]frame, len(entries)), tenants: make([]*tenant, len(entries)), entries: entries}
	for i := range entries {
		en := &entries[i]
		if err := checkSize(&en.Key, &en.Record); err != nil {
			return err
		}
		c.tenants[i] = e.tenants.get(en.Key.Tenant)
		f := &c.frames[i]
		*f = frame{
			kind: kindRecord, id: en.Key.ID, expires: en.Record.Expires.UnixMilli(),
			size: len(en.Record.Data), dataSum: dataSum(en.Record.Data),
		}
		if en.Record.Marker {
			f.flags |= flagMarker
		}
		if i+1 < len(entries) {
			f.flags |= flagContinues
		}
		c.length += frameLength(len(en.Key.Tenant), f.size)
		c.shards = append(c.shards, e.index.shardOf(&en.Key.ID))
	}
	slices.Sort(c.shards)
	c.shards = slices.Compact(c.shards)
	for {
		g, err := e.tryPutAll(&c)
		if err == nil {
			return e.log.commit(g)
		}
		if err := e.log.await(ctx, err); err != nil {
			return err
		}
	}
}

// chain is frames that are valid only as a whole.
type chain struct {
	entries []storage.Entry
	frames  []frame
	tenants []*tenant
	shards  []int // of all keys, ascending
	length  int
}

func (e *engine) tryPutAll(c *chain) (*group, error) {
	for _, i := range c.shards {
		sh := &e.index.shards[i]
		sh.mu.Lock()
		defer sh.mu.Unlock()
	}
	cl := urgent
	for i := range c.frames {
		f := &c.frames[i]
		sh := e.shard(&f.id)
		if sh.find(&f.id, c.tenants[i].number) == nil {
			if err := sh.grow(len(c.frames), e.limit(f)); err != nil {
				return nil, err
			}
		}
		cl = min(cl, f.class())
	}
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.claim(c.length, cl)
	if err != nil {
		return nil, err
	}
	synced, from := int(r.page.segment.synced.Load()), 0
	l.known, l.content = int64(synced), int64(r.pos.offset()+c.length)
	for i := range c.frames {
		f, t := &c.frames[i], c.tenants[i]
		f.synced, f.data = synced, c.entries[i].Record.Data
		n := frameLength(len(t.name), f.size)
		p := at(r.pos.segment(), r.pos.offset()+from)
		r.page.segment.content += int64(n)
		l.seal.put(r.buf[from:from+n], p, f, t.name)
		from += n
		sh := e.shard(&f.id)
		e.set(sh, sh.find(&f.id, t.number), t, f, p)
	}
	return r.group, nil
}

// newest returns the entries without those of which a later entry has the same key.
func newest(entries []storage.Entry) []storage.Entry {
	last := make(map[storage.Key]int, len(entries))
	for i := range entries {
		last[entries[i].Key] = i
	}
	if len(last) == len(entries) {
		return entries
	}
	kept := make([]storage.Entry, 0, len(last))
	for i := range entries {
		if last[entries[i].Key] == i {
			kept = append(kept, entries[i])
		}
	}
	return kept
}

func (e *engine) usage(name string) storage.Usage {
	t := e.tenants.lookup(name)
	if t == nil {
		return storage.Usage{}
	}
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return t.usage
}

// drop makes all records of a tenant absent at once, and then frees their slots.
func (e *engine) drop(ctx context.Context, name string) (removed int64, err error) {
	t := e.tenants.lookup(name)
	if t == nil {
		return 0, nil
	}
	for {
		removed, g, err := e.tryDrop(t)
		if err == nil {
			if err := e.log.commit(g); err != nil {
				return 0, err
			}
			e.freeDropped(ctx, t)
			return removed, nil
		}
		if err := e.log.await(ctx, err); err != nil {
			return 0, err
		}
	}
}

func (e *engine) tryDrop(t *tenant) (removed int64, g *group, err error) {
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.claim(frameLength(len(t.name), 0), urgent)
	if err != nil {
		return 0, nil, err
	}
	f := frame{kind: kindDrop, dataSum: dataSum(nil)}
	l.put(&r, &f, t.name)
	removed = t.usage.Records
	t.usage = storage.Usage{}
	t.markers.expiries, t.markers.count, t.markers.next = nil, 0, 0
	t.markers.bound.Store(0)
	t.dropped.Store(uint64(r.pos))
	return removed, r.group, nil
}

// freeDropped frees the slots of a tenant that a drop has made absent. Sweeping does the same, later.
func (e *engine) freeDropped(ctx context.Context, t *tenant) {
	for i := range e.index.shards {
		if ctx.Err() != nil {
			return
		}
		sh := &e.index.shards[i]
		sh.mu.Lock()
		e.log.mu.Lock()
		for j := 0; j < len(sh.slots); j++ {
			if s := &sh.slots[j]; s.pos != 0 && s.tenant == t.number && t.absent(s) {
				e.unset(sh, s, t)
				j-- // another slot may lie here now
			}
		}
		e.log.mu.Unlock()
		sh.mu.Unlock()
	}
}
