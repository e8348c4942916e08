package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sessionserver/storage"
)

// Store keeps each record in a file.
//
// Locks are taken in this order: life, the sweep's or the batch's, a tenant's folders, stripes by ascending index, a
// tenant's usage, the queue. A stripe is locked only for a rename, a removal, or the reading of a head. It is never
// locked while a file is written or synced.
type Store struct {
	root  *os.Root
	lock  *os.File
	now   func() time.Time
	sync  bool   // writes wait for the disk
	nonce string // part of the names of temporary files, so that no later process uses such a name again
	temps atomic.Uint64

	slots chan struct{} // holds one value for each operation

	life   sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool         // guarded by life

	// failed is set when a batch could be neither completed nor undone. No writes are accepted until the store is
	// opened again, which completes the batch and would overwrite them.
	failed       atomic.Pointer[error]
	reportFailed func(error)

	damagedFiles  atomic.Uint64 // highest number of a damaged file
	reportDamaged func(tenant, file string, cause error)
	reportSync    func(time.Duration)

	stripes [256]sync.RWMutex // by the id's first byte: the names of records, and the expiry within them
	tenants tenants
	batch   sync.Mutex // held by the batch that has the journal
	sweep   sync.Mutex // held for a round of sweeping
	queue   queue
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// Get implements storage.Store. For a torn or foreign file the error is storage.ErrCorrupt, wrapped with the cause.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	if err := s.enter(ctx); err != nil {
		return storage.Record{}, failure("get", err)
	}
	defer s.leave()
	rec, err := s.get(key)
	if err != nil {
		return storage.Record{}, failure("get", err)
	}
	return rec, nil
}

func (s *Store) get(key storage.Key) (storage.Record, error) {
	t := s.tenants.find(key.Tenant)
	if t == nil {
		return storage.Record{}, storage.ErrNotFound
	}
	stripe := &s.stripes[key.ID[0]]
	stripe.RLock()
	f, h, err := s.openRecord(t.path(key.ID), key, os.O_RDONLY)
	stripe.RUnlock()
	if err != nil {
		return storage.Record{}, err
	}
	defer f.Close()
	if h.expired(s.now()) {
		return storage.Record{}, storage.ErrNotFound
	}
	// From here on no lock is needed, as the data of a file is never written again.
	data := make([]byte, h.length)
	if _, err := f.ReadAt(data, headSize); err != nil && err != io.EOF {
		return storage.Record{}, err
	}
	return h.record(data)
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	if err := s.enterWrite(ctx); err != nil {
		return failure("put", err)
	}
	defer s.leave()
	return failure("put", s.put(key, rec))
}

func (s *Store) put(key storage.Key, rec storage.Record) error {
	st, err := s.stage(key, rec)
	if err != nil {
		return err
	}
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	added, err := s.replace(st)
	st.tenant.add(added)
	stripe.Unlock()
	if err != nil {
		return errors.Join(err, s.root.Remove(st.temp))
	}
	return s.syncFolder(st.folder)
}

// Touch implements storage.Store.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	if err := s.enterWrite(ctx); err != nil {
		return failure("touch", err)
	}
	defer s.leave()
	return failure("touch", s.touch(key, expires.UnixMilli()))
}

func (s *Store) touch(key storage.Key, expires int64) error {
	t := s.tenants.find(key.Tenant)
	if t == nil {
		return storage.ErrNotFound
	}
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	f, h, err := s.openRecord(t.path(key.ID), key, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if h.marker || h.expired(s.now()) {
		return storage.ErrNotFound
	}
	if expires <= h.expires {
		return nil
	}
	if _, err = f.WriteAt(appendExpiry(nil, expires), expiryOffset); err != nil {
		return err
	}
	s.queue.set(t, key.ID, expires)
	return nil
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := s.enterWrite(ctx); err != nil {
		return failure("delete", err)
	}
	defer s.leave()
	t := s.tenants.find(key.Tenant)
	if t == nil {
		return nil
	}
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	err := s.verify(t, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = nil
	case errors.Is(err, storage.ErrCorrupt):
		err = s.setAside(t, key, err)
	case err == nil:
		err = s.remove(t, key)
	}
	return failure("delete", err)
}

// Usage implements storage.Meter.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	if err := s.enter(ctx); err != nil {
		return storage.Usage{}, failure("usage", err)
	}
	defer s.leave()
	t := s.tenants.find(tenant)
	if t == nil {
		return storage.Usage{}, nil
	}
	return t.usage(), nil
}

// Close implements storage.Store. It unlocks the folder.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return failure("close", errors.Join(s.root.Close(), s.lock.Close()))
}

// enter begins an operation and waits for a free slot. The caller ends the operation with leave.
func (s *Store) enter(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
	default:
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.life.RLock()
	err := ctx.Err()
	if s.closed {
		err = storage.ErrClosed
	}
	if err != nil {
		s.leave()
	}
	return err
}

func (s *Store) leave() {
	s.life.RUnlock()
	<-s.slots
}

// enterWrite is enter for an operation that writes.
func (s *Store) enterWrite(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if p := s.failed.Load(); p != nil {
		s.leave()
		return *p
	}
	return nil
}

// openRecord opens the file of a record and reads its head. The caller holds the stripe. The error is
// storage.ErrNotFound without a file, a wrapped storage.ErrCorrupt for anything but a valid file, or that of the
// file system.
func (s *Store) openRecord(path string, key storage.Key, flag int) (*os.File, head, error) {
	f, err := s.root.OpenFile(path, flag|syscall.O_NONBLOCK, 0) // does not block on a foreign named pipe
	if errors.Is(err, fs.ErrNotExist) {
		return nil, head{}, storage.ErrNotFound
	}
	if err != nil {
		if info, e := s.root.Lstat(path); e == nil && !info.Mode().IsRegular() {
			return nil, head{}, corrupt("not a file")
		}
		return nil, head{}, err
	}
	h, err := readHead(f, key)
	if err != nil {
		f.Close()
		return nil, head{}, err
	}
	return f, h, nil
}

func readHead(f *os.File, key storage.Key) (head, error) {
	info, err := f.Stat()
	if err != nil {
		return head{}, err
	}
	if !info.Mode().IsRegular() {
		return head{}, corrupt("not a file")
	}
	var b [headSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return head{}, err
	}
	return decodeHead(key, b[:n], info.Size())
}

// readHeadAt is openRecord for a caller that needs only the head.
func (s *Store) readHeadAt(path string, key storage.Key) (head, error) {
	f, h, err := s.openRecord(path, key, os.O_RDONLY)
	if err != nil {
		return head{}, err
	}
	return h, f.Close()
}

// counted reads the head of a record that is about to be removed, and reports whether it counts in the usage.
func (s *Store) counted(t *tenant, key storage.Key) (head, bool, error) {
	h, err := s.readHeadAt(t.path(key.ID), key)
	if errors.Is(err, storage.ErrNotFound) {
		return head{}, false, nil
	}
	return h, err == nil && !h.marker, err
}

// remove removes the record if it exists. The caller holds the stripe.
func (s *Store) remove(t *tenant, key storage.Key) error {
	old, counted, err := s.counted(t, key)
	if err != nil {
		return err
	}
	err = s.root.Remove(t.path(key.ID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.queue.remove(t, key.ID)
	if counted && err == nil {
		t.add(storage.Usage{Records: -1, Bytes: -old.length})
	}
	return nil
}

// failure wraps err with the operation. Sentinels for an absent record and a closed store stay unwrapped.
func failure(op string, err error) error {
	switch err.(type) {
	case nil, *operationError:
		return err
	}
	if err == storage.ErrNotFound || err == storage.ErrClosed {
		return err
	}
	return &operationError{op, err}
}

// operationError is an error of an operation. Its text is for logs, so it does not contain the names of records' files,
// which are hashes of session ids.
type operationError struct {
	op  string
	err error
}

func (e *operationError) Error() string { return "file: " + e.op + ": " + withoutIDs(e.err.Error()) }
func (e *operationError) Unwrap() error { return e.err }

// idNames matches the names of records' files, with the sub-folder before them and the suffix of a temporary file.
var idNames = regexp.MustCompile(`(?:[0-9a-f]{2}/)?[0-9a-f]{64}(?:\.[0-9A-Za-z-]+\.tmp)?`)

func withoutIDs(text string) string { return idNames.ReplaceAllString(text, "…") }
