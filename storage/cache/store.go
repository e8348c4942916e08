package cache

import (
	"bytes"
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"sessionserver/storage"
)

// shardCount is how many locks the entries are spread over, and into how many shares the memory is divided.
const shardCount = 16

// Options are what New can be told.
type Options struct {
	// Bytes bounds the memory of all entries, what keeping them costs included. A record that takes more than a
	// sixteenth of it is not kept, so 64 MiB leave room for records of 4 MiB; none are kept with zero or less.
	Bytes int64

	// Now is the clock that decides what has expired, the same as the wrapped store's. Default time.Now.
	Now func() time.Time
}

// Stats are what a cache has done and what it keeps.
type Stats struct {
	Hits, Misses uint64 // of Get
	Bytes        int64  // taken by entries, what keeping them costs included
	Entries      int
}

// Store is a store that keeps hot records of another one in memory.
type Store struct {
	inner  storage.Store
	now    func() time.Time
	closed atomic.Bool // set before the wrapped store is closed; all but hits would notice by themselves
	shards [shardCount]shard
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// New wraps inner, which belongs to the cache from here on and is closed with it.
func New(inner storage.Store, opts Options) *Store {
	s := &Store{inner: inner, now: opts.Now}
	if s.now == nil {
		s.now = time.Now
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.share = max(opts.Bytes, 0) / shardCount
		lru, err := simplelru.NewLRU(math.MaxInt, sh.evicted) // the number of entries is not what bounds it
		if err != nil {
			panic(err) // for a size that is not positive
		}
		sh.lru = lru
		sh.drops = make(map[string]int)
	}
	return s
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	if s.closed.Load() {
		return storage.Record{}, storage.ErrClosed
	}
	sh := s.shard(key)
	e, permit, hit := sh.get(key, s.now())
	if hit {
		e.data = bytes.Clone(e.data) // without a lock: what an entry's data points to is never written again
		return e.record(), nil
	}
	rec, err := s.inner.Get(ctx, key)
	if err == nil {
		sh.loaded(key, permit, s.entry(sh, key, rec))
	}
	return rec, err
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	sh := s.shard(key)
	w := sh.begin(key)
	err := s.inner.Put(ctx, key, rec)
	if err == nil {
		w.keep = s.entry(sh, key, rec)
	}
	sh.end(key, w)
	return err
}

// Touch implements storage.Store.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	sh := s.shard(key)
	w := sh.begin(key)
	err := s.inner.Touch(ctx, key, expires)
	if err == nil && w.had != nil {
		w.had.expires = max(w.had.expires, expires.UnixMilli())
		w.keep = w.had
	}
	sh.end(key, w)
	return err
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	sh := s.shard(key)
	w := sh.begin(key)
	err := s.inner.Delete(ctx, key)
	sh.end(key, w)
	return err
}

// PutAll implements storage.Batcher if the wrapped store does. While it is under way none of its keys is in the cache,
// so the batch is seen as the wrapped store shows it.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	b, ok := s.inner.(storage.Batcher)
	if !ok {
		return errors.ErrUnsupported
	}
	writes := make([]write, len(entries))
	for i, e := range entries {
		writes[i] = s.shard(e.Key).begin(e.Key)
	}
	err := b.PutAll(ctx, entries)
	for i, e := range entries {
		sh := s.shard(e.Key)
		if err == nil {
			writes[i].keep = s.entry(sh, e.Key, e.Record)
		}
		sh.end(e.Key, writes[i])
	}
	return err
}

// Sweep implements storage.Sweeper if the wrapped store does.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	swept, err := storage.Sweep(ctx, s.inner, limit)
	for _, key := range swept.Removed {
		s.shard(key).drop(key) // it may have been written anew since: then this costs a miss
	}
	return swept, err
}

// Backlog implements storage.Backlogger if the wrapped store does.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) { return storage.Backlog(ctx, s.inner) }

// Usage implements storage.Meter if the wrapped store does.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	return storage.UsageOf(ctx, s.inner, tenant)
}

// DropTenant implements storage.Dropper if the wrapped store does.
func (s *Store) DropTenant(ctx context.Context, tenant string) (int64, error) {
	for i := range s.shards {
		s.shards[i].beginDrop(tenant)
		defer s.shards[i].endDrop(tenant)
	}
	return storage.DropTenant(ctx, s.inner, tenant)
}

// Close implements storage.Store. It closes the wrapped store.
func (s *Store) Close() error {
	s.closed.Store(true)
	err := s.inner.Close()
	for i := range s.shards {
		s.shards[i].close()
	}
	return err
}

// Stats tells what the cache has done and what it keeps. The numbers are not of one moment.
func (s *Store) Stats() Stats {
	var sum Stats
	for i := range s.shards {
		s.shards[i].addTo(&sum)
	}
	return sum
}

func (s *Store) shard(key storage.Key) *shard { return &s.shards[key.ID[0]%shardCount] }

// entry answers a copy of rec to keep, or nil if it is too large for the shard or has expired.
func (s *Store) entry(sh *shard, key storage.Key, rec storage.Record) *entry {
	expires := rec.Expires.UnixMilli()
	if cost(key, len(rec.Data)) > sh.share || expires <= s.now().UnixMilli() {
		return nil
	}
	return &entry{data: bytes.Clone(rec.Data), expires: expires, marker: rec.Marker}
}
