package log

import (
	"sync"
	"time"

	"sessionserver/storage"
)

// sweep is the state of sweeping: it visits one shard after the other. A sweep writes nothing, for the expiry of a
// record is known again when the folder is opened.
type sweep struct {
	mu    sync.Mutex // comes before those of the shards
	next  int        // shard
	began int64      // time at which this pass has begun, in Unix milliseconds
}

// sweepScan is how many slots are visited for each record that may be removed.
const sweepScan = 32

func (e *engine) sweepSome(limit int) storage.Swept {
	limit = max(limit, 1)
	sw := &e.sweep
	sw.mu.Lock()
	defer sw.mu.Unlock()
	var swept storage.Swept
	removed := 0
	for visited := 0; visited < limit*sweepScan && removed < limit; {
		if sw.next == 0 && sw.began == 0 {
			sw.began = e.now()
		}
		sh := &e.index.shards[sw.next]
		n, scanned, done := e.sweepShard(sh, limit-removed, &swept)
		removed += n
		if !done {
			break
		}
		visited += 1 + scanned
		if sw.next++; sw.next == shardCount {
			sw.next = 0
			e.log.mu.Lock()
			e.log.swept = sw.began // less than before if the clock was set back
			e.log.mu.Unlock()
			sw.began = 0
			return swept
		}
	}
	swept.More = true
	return swept
}

// sweepShard removes at most limit expired records of a shard. It returns how many slots it has visited, and whether
// that were all of them.
func (e *engine) sweepShard(sh *shard, limit int, swept *storage.Swept) (removed, visited int, all bool) {
	now := e.now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := 0; i < len(sh.slots); i++ {
		s := &sh.slots[i]
		if s.pos == 0 {
			continue
		}
		t := e.tenants.at(s.tenant)
		absent := t.absent(s)
		surplus := s.isMarker() && !absent && s.expires() > now && s.expires() < t.markers.bound.Load() &&
			uint64(s.pos) < e.log.committed.Load()
		if s.is(slotDeleted) || !absent && s.expires() > now && !surplus {
			continue
		}
		if removed == limit {
			return removed, i, false
		}
		if !absent && !s.is(slotMarker) {
			swept.Removed = append(swept.Removed, storage.Key{Tenant: t.name, ID: s.id})
		}
		removed++
		if surplus {
			e.counts.markers.Add(1)
		}
		e.log.mu.Lock()
		e.unset(sh, s, t)
		e.log.mu.Unlock()
		i-- // another slot may lie here now
	}
	return removed, len(sh.slots), true
}

func (e *engine) backlog() time.Time {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	oldest := e.log.expiries.oldest(e.log.swept)
	if oldest > e.now() {
		return time.Time{}
	}
	return time.UnixMilli(oldest)
}
