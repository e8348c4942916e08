package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// sweeper knows how far the expiry index has been worked off. Entries before its position have been deleted, and their
// tombstones would have to be crawled over again each time if every round began at the beginning.
type sweeper struct {
	mu   sync.Mutex   // held for a round
	from []byte       // guarded by mu: the next round begins at this key of the index
	time atomic.Int64 // the time in from, changed with mu held

	// early is the earliest entry inserted since the last round began. It lies before the position if who wrote it was
	// slow, or the clock went back; then the next round begins there. The zero value begins at the beginning.
	early atomic.Int64
}

// inserted takes note of a new entry that can be seen by now. (Noted any earlier, a round could pass between the note
// and it.)
func (sw *sweeper) inserted(at int64) {
	for {
		early := sw.early.Load()
		if at >= early || sw.early.CompareAndSwap(early, at) {
			return
		}
	}
}

// begin answers where the round begins. The caller holds mu.
func (sw *sweeper) begin() []byte {
	if early := sw.early.Swap(math.MaxInt64); early <= sw.time.Load() {
		sw.time.Store(early)
		sw.from = appendIndexTime(nil, early)
	}
	return sw.from
}

// Sweep removes expired records. It goes through the entries of the expiry index whose time has come, from where it
// left off; an entry is only ever earlier than its record's expiry, so none that has expired is missed. Where the
// record still lives the entry is moved to the time at which it will expire.
//
// The entries are looked up without a lock, and each is examined anew under its stripe: what is written meanwhile
// counts.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	if err := s.enter(ctx, "sweep"); err != nil {
		return storage.Swept{}, err
	}
	defer s.leave()
	s.sweeper.mu.Lock()
	defer s.sweeper.mu.Unlock()
	var swept storage.Swept
	due, err := s.due(max(limit, 1))
	for i, d := range due {
		if err = ctx.Err(); err == nil {
			err = s.sweepOne(d, &swept)
		}
		if err != nil {
			s.sweeper.inserted(due[i].at) // so that the next round begins here
			break
		}
	}
	if err != nil {
		return swept, fmt.Errorf("pebble: sweep: %w", err)
	}
	swept.More = len(due) >= limit
	return swept, nil
}

// dueEntry is an entry of the index.
type dueEntry struct {
	at  int64
	key storage.Key
}

// due answers the next entries whose time has come, at most limit, and moves the position behind them.
func (s *Store) due(limit int) (due []dueEntry, err error) {
	now := s.now().UnixMilli()
	if now < 0 {
		return nil, nil
	}
	from := s.sweeper.begin()
	defer func() {
		if err != nil {
			s.sweeper.inserted(s.sweeper.time.Load()) // what begin has taken note of must not be forgotten
		}
	}()
	until := appendIndexTime(nil, now+1)
	if bytes.Compare(from, until) >= 0 {
		return nil, nil
	}
	it, err := s.db.NewIter(&pebbledb.IterOptions{LowerBound: from, UpperBound: until})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for it.First(); it.Valid() && len(due) < limit; it.Next() {
		at, key, err := parseIndexKey(it.Key())
		if err != nil {
			s.log.Error("damaged entry in the expiry index", "err", err)
			continue
		}
		due = append(due, dueEntry{at, key})
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if n := len(due); n == limit {
		s.sweeper.time.Store(due[n-1].at)
		s.sweeper.from = append(appendIndexKey(nil, due[n-1].at, due[n-1].key), 0)
	} else {
		s.sweeper.time.Store(now + 1)
		s.sweeper.from = until
	}
	return due, nil
}

// Backlog tells when the first entry of the index was due that no round has come to. It waits for no round: what the
// one under way has taken up counts no more, unless the round fails.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) {
	if err := s.enter(ctx, "backlog"); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	now := s.now().UnixMilli()
	from := min(s.sweeper.early.Load(), s.sweeper.time.Load())
	if from > now {
		return time.Time{}, nil
	}
	it, err := s.db.NewIter(&pebbledb.IterOptions{LowerBound: appendIndexTime(nil, from),
		UpperBound: appendIndexTime(nil, now+1)})
	if err != nil {
		return time.Time{}, fmt.Errorf("pebble: backlog: %w", err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if at, _, err := parseIndexKey(it.Key()); err == nil {
			return time.UnixMilli(at), nil
		}
	}
	if err := it.Error(); err != nil {
		return time.Time{}, fmt.Errorf("pebble: backlog: %w", err)
	}
	return time.Time{}, nil
}

// sweepOne does what is to be done about one entry, and adds to swept what it has removed.
func (s *Store) sweepOne(d dueEntry, swept *storage.Swept) error {
	e := s.begin()
	defer e.end()
	st := s.stripe(d.key.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	c, err := e.look(d.key)
	expired := false
	switch {
	case errors.Is(err, storage.ErrCorrupt):
		// When a damaged record expires cannot be known. It stays, to be found by its reader, until somebody overwrites
		// it.
		err = e.unindex(d.at, d.key)
	case err != nil:
	case !c.had || c.old.indexed != d.at:
		err = e.unindex(d.at, d.key) // it leads nowhere; see edit.remove
	case c.old.expires > s.now().UnixMilli():
		err = errors.Join(e.unindex(d.at, d.key), e.index(c.old.expires, d.key), e.move(c, d.key, 0, c.old.expires))
	default:
		expired = true
		err = e.drop(c, d.key)
	}
	if err == nil {
		err = e.apply(false)
	}
	if err == nil && expired && !c.old.marker {
		swept.Removed = append(swept.Removed, d.key)
	}
	return err
}
