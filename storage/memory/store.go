package memory

import (
	"bytes"
	"context"
	"math"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// shardCount is the number of shards, each with its own lock. It is 64 so that a set of shards fits a uint64; see
// PutAll.
const shardCount = 64

// Options configure New. The zero value is valid.
type Options struct {
	Now func() time.Time // the clock; time.Now if nil
}

// Store keeps records in memory. Its methods wait only for each other, so all but DropTenant ignore their contexts.
//
// Locks are taken in this order: shards by ascending index, then the ledger's.
type Store struct {
	now    func() time.Time
	shards [shardCount]shard
	rounds atomic.Uint32 // of sweeping; each begins at another shard, so that none is always the last
	ledger ledger
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// New returns an empty store.
func New(opts Options) *Store {
	s := &Store{now: opts.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.ledger.tenants = make(map[string]storage.Usage)
	for i := range s.shards {
		s.shards[i].items = make(map[storage.Key]*item)
	}
	return s
}

// Get implements storage.Store.
func (s *Store) Get(_ context.Context, key storage.Key) (storage.Record, error) {
	now := s.now()
	sh := s.shard(key)
	sh.mu.Lock()
	it, err := sh.live(key, now)
	if err != nil {
		sh.mu.Unlock()
		return storage.Record{}, err
	}
	rec := storage.Record{Data: it.data, Expires: time.UnixMilli(it.Expires()), Marker: it.marker}
	sh.mu.Unlock()
	rec.Data = bytes.Clone(rec.Data) // outside the lock: an item's data is never written again
	return rec, nil
}

// Put implements storage.Store.
func (s *Store) Put(_ context.Context, key storage.Key, rec storage.Record) error {
	rec.Data = bytes.Clone(rec.Data)
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return storage.ErrClosed
	}
	s.ledger.apply(sh.put(key, rec))
	return nil
}

// PutAll implements storage.Batcher. It holds the locks of all its shards, so no other operation sees a part of it.
func (s *Store) PutAll(_ context.Context, entries []storage.Entry) error {
	if len(entries) == 0 {
		return s.ledger.check()
	}
	var shards uint64 // bit set of indexes
	for _, e := range entries {
		shards |= 1 << shardIndex(e.Key)
	}
	for i := range s.shards {
		if shards&(1<<i) != 0 {
			s.shards[i].mu.Lock()
			defer s.shards[i].mu.Unlock()
		}
	}
	for _, e := range entries { // check all shards before the first write
		if s.shard(e.Key).items == nil {
			return storage.ErrClosed
		}
	}
	changes := make([]change, len(entries))
	for i, e := range entries {
		e.Record.Data = bytes.Clone(e.Record.Data)
		changes[i] = s.shard(e.Key).put(e.Key, e.Record)
	}
	s.ledger.apply(changes...)
	return nil
}

// Touch implements storage.Store.
func (s *Store) Touch(_ context.Context, key storage.Key, expires time.Time) error {
	now := s.now()
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	it, err := sh.live(key, now)
	if err != nil {
		return err
	}
	if it.marker {
		return storage.ErrNotFound
	}
	if ms := expires.UnixMilli(); ms > it.Expires() {
		sh.queue.Move(it, ms)
	}
	return nil
}

// Delete implements storage.Store.
func (s *Store) Delete(_ context.Context, key storage.Key) error {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return storage.ErrClosed
	}
	if it, ok := sh.items[key]; ok {
		sh.remove(it, &s.ledger)
	}
	return nil
}

// Sweep implements storage.Sweeper. It removes up to limit records, at least one, and visits no live ones but the
// first of each shard.
func (s *Store) Sweep(_ context.Context, limit int) (storage.Swept, error) {
	var swept storage.Swept
	now := s.now()
	left := max(limit, 1)
	first := s.rounds.Add(1)
	for i := range uint32(shardCount) {
		sh := &s.shards[(first+i)%shardCount]
		if err := sh.sweep(now, &left, &swept, &s.ledger); err != nil {
			return storage.Swept{}, err
		}
		if left == 0 {
			swept.More = true
			break
		}
	}
	return swept, nil
}

// Backlog implements storage.Backlogger.
func (s *Store) Backlog(context.Context) (since time.Time, err error) {
	now := s.now().UnixMilli()
	first := int64(math.MaxInt64)
	for i := range s.shards {
		expires, err := s.shards[i].first()
		if err != nil {
			return time.Time{}, err
		}
		first = min(first, expires)
	}
	if first > now {
		return time.Time{}, nil
	}
	return time.UnixMilli(first), nil
}

// Usage implements storage.Meter.
func (s *Store) Usage(_ context.Context, tenant string) (storage.Usage, error) {
	return s.ledger.usage(tenant)
}

// DropTenant implements storage.Dropper. It visits the records of all tenants, a few at a time.
func (s *Store) DropTenant(ctx context.Context, tenant string) (removed int64, err error) {
	for i := range s.shards {
		n, err := s.shards[i].drop(ctx, tenant, &s.ledger)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// Close implements storage.Store. It releases all records.
func (s *Store) Close() error {
	for i := range s.shards {
		s.shards[i].close()
	}
	s.ledger.close()
	return nil
}

func (s *Store) shard(key storage.Key) *shard { return &s.shards[shardIndex(key)] }

// shardIndex uses the id alone: ids are hashes, so they spread evenly.
func shardIndex(key storage.Key) int { return int(key.ID[0]) % shardCount }
