package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// Store keeps records in a log of segments in one folder.
type Store struct {
	opts   Options
	folder files

	life   sync.RWMutex // held for reading during operations; Close and opening again take it for writing
	engine *engine
	closed bool

	counts  counts
	ended   chan struct{} // closed by Close
	watcher sync.WaitGroup
	warned  atomic.Int64 // time of the last warning of a damaged record, in Unix seconds
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// Open opens the store in the folder o.Path, and creates the folder if it does not exist. If this process or
// another one already uses the folder, the error is storage.ErrLocked. If acknowledged writes may be lost, the error
// is storage.ErrCorrupt and names the damaged file, unless o.AcceptLoss is set.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("log: open: %w", err)
	}
	s := &Store{opts: o, folder: o.files, ended: make(chan struct{})}
	if s.folder == nil {
		if s.folder, err = openFolder(o.Path); err != nil {
			return nil, fmt.Errorf("log: open %s: %w", o.Path, err)
		}
	}
	if err = s.folder.Lock(); err == nil {
		s.engine, err = s.openEngine(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("log: open %s: %w", o.Path, errors.Join(err, s.folder.Close()))
	}
	s.watcher.Go(s.watch)
	return s, nil
}

func (s *Store) openEngine(r *resume) (*engine, error) {
	return openEngine(&s.opts, s.folder, r, &s.counts, s.reportDamaged)
}

// counts are counts since Open.
type counts struct {
	memoryReads, diskReads atomic.Int64 // records read
	markers                atomic.Int64 // removed before they had expired
}

// Stats is the state of a store.
type Stats struct {
	DiskBytes   int64 // size of all segments
	IndexBytes  int64 // memory of the index, which is outside of the Go heap
	MemoryReads int64 // records read from memory since Open
	DiskReads   int64 // records read from the disk since Open
	Markers     int64 // markers removed since Open before they had expired, because a tenant had too many
}

// Stats returns the state of the store. That of a closed store is zero.
func (s *Store) Stats() Stats {
	e, err := s.begin(context.Background())
	if err != nil {
		return Stats{}
	}
	defer s.life.RUnlock()
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return Stats{
		DiskBytes: e.log.total + int64(e.log.next.size+e.log.reserve.size), IndexBytes: e.index.bytes.Load(),
		MemoryReads: s.counts.memoryReads.Load(), DiskReads: s.counts.diskReads.Load(),
		Markers: s.counts.markers.Load(),
	}
}

func (s *Store) reportDamaged(segment uint64, offset int) {
	if now := time.Now().Unix(); s.warned.Swap(now) != now {
		s.opts.Logger.Warn("storage: a record is damaged", "file", segmentName(segment), "offset", offset)
	}
}

// watch opens the folder again after a failure.
func (s *Store) watch() {
	for {
		s.life.RLock()
		e := s.engine
		s.life.RUnlock()
		select {
		case <-s.ended:
			return
		case <-e.log.broken:
		}
		err := e.log.failure()
		s.opts.Logger.Error("storage has failed and is opened again when it can be", "err", err)
		s.opts.Failed(err)
		e.halt()
		if !s.reopen(e) {
			return
		}
		s.opts.Logger.Info("storage is open again")
		s.opts.Failed(nil)
	}
}

// reopen opens the folder that e has failed to write to, as soon as that works. Until then e serves what is durable.
// It reports false if the store is closed first.
func (s *Store) reopen(e *engine) bool {
	l := &e.log
	l.writing.Lock() // the last leader has finished
	var r *resume
	if l.entered != nil {
		r = &resume{segment: l.entered.number, offset: int(l.entered.synced.Load())}
		if c := position(l.committed.Load()); s.opts.Sync == SyncNever && c.segment() == r.segment {
			r.offset = c.offset() // the kernel has accepted it
		}
	}
	l.writing.Unlock()
	for {
		select {
		case <-s.ended:
			return false
		case <-time.After(s.opts.layout.reopen):
		}
		if err := s.folder.Present(); err != nil {
			continue
		}
		again, err := s.openEngine(r)
		if err != nil {
			level := slog.LevelDebug
			if errors.Is(err, storage.ErrCorrupt) { // it needs an operator
				level = slog.LevelError
			}
			s.opts.Logger.Log(context.Background(), level, "storage cannot be opened again yet", "err", err)
			continue
		}
		s.life.Lock()
		closed := s.closed
		if !closed {
			s.engine = again
		}
		s.life.Unlock()
		if closed {
			_ = again.close()
			return false
		}
		e.release()
		return true
	}
}

// begin returns the engine for one operation, which ends with s.life.RUnlock.
func (s *Store) begin(ctx context.Context) (*engine, error) {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return nil, storage.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		s.life.RUnlock()
		return nil, err
	}
	return s.engine, nil
}

// Get implements storage.Store. It waits for a write that it would show before that is durable.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	e, err := s.begin(ctx)
	if err != nil {
		return storage.Record{}, err
	}
	defer s.life.RUnlock()
	return e.get(ctx, &key)
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	e, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.life.RUnlock()
	return e.put(ctx, &key, &rec)
}

// PutAll implements storage.Batcher.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	e, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.life.RUnlock()
	return e.putAll(ctx, entries)
}

// Touch implements storage.Store.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	e, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.life.RUnlock()
	return e.touch(ctx, &key, expires)
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	e, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.life.RUnlock()
	return e.delete(ctx, &key)
}

// Sweep implements storage.Sweeper.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	e, err := s.begin(ctx)
	if err != nil {
		return storage.Swept{}, err
	}
	defer s.life.RUnlock()
	return e.sweepSome(limit), nil
}

// Backlog implements storage.Backlogger.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) {
	e, err := s.begin(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer s.life.RUnlock()
	return e.backlog(), nil
}

// Usage implements storage.Meter.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	e, err := s.begin(ctx)
	if err != nil {
		return storage.Usage{}, err
	}
	defer s.life.RUnlock()
	return e.usage(tenant), nil
}

// DropTenant implements storage.Dropper.
func (s *Store) DropTenant(ctx context.Context, tenant string) (removed int64, err error) {
	e, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	return e.drop(ctx, tenant)
}

// Close implements storage.Store. It completes the newest segment, so that the next Open reads tables of keys only.
func (s *Store) Close() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return nil
	}
	s.closed = true
	s.life.Unlock()
	close(s.ended)
	s.watcher.Wait()
	err := errors.Join(s.engine.close(), s.folder.Close())
	if err != nil {
		return fmt.Errorf("log: close: %w", err)
	}
	return nil
}
