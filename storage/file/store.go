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
// tenant's usage, the queue. Files are written and synced while no stripe is held: a stripe is held for the moment of a rename, a
// removal or of reading a head.
type Store struct {
	root  *os.Root
	lock  *os.File
	now   func() time.Time
	sync  bool   // whether writes wait for the disk
	nonce string // part of the names of temporary files, so that a later process never makes one of the same name
	temps atomic.Uint64

	places chan struct{} // holds one for each operation

	life   sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool         // guarded by life

	// failed is set when a batch stopped half way. Writing goes on after the store has been opened again, which
	// completes the batch: what was written before that would be overwritten then.
	failed atomic.Pointer[error]
	tell   func(error) // of that

	aside   atomic.Uint64 // the last number of a damaged file
	damaged func(tenant, file string, why error)
	synced  func(time.Duration)

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

// Get implements storage.Store. A file that is torn or foreign answers storage.ErrCorrupt, wrapped with what is wrong
// with it.
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
	// No lock is needed from here on: the data of a file is never written again.
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

// Close implements storage.Store. It lets go of the folder.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return failure("close", errors.Join(s.root.Close(), s.lock.Close()))
}

// enter begins an operation, which the caller ends by leave. It waits for a place.
func (s *Store) enter(ctx context.Context) error {
	select {
	case s.places <- struct{}{}:
	default:
		select {
		case s.places <- struct{}{}:
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
	<-s.places
}

// enterWrite is enter for an operation that changes something.
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

// openRecord opens the file of a record and reads its head. The caller holds the stripe. Its errors are
// storage.ErrNotFound where there is no file, storage.ErrCorrupt, wrapped, where there is something else, and those of
// the file system.
func (s *Store) openRecord(path string, key storage.Key, flag int) (*os.File, head, error) {
	f, err := s.root.OpenFile(path, flag|syscall.O_NONBLOCK, 0) // or a foreign named pipe would make it wait
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

// readHeadAt is openRecord for a caller who wants the head only.
func (s *Store) readHeadAt(path string, key storage.Key) (head, error) {
	f, h, err := s.openRecord(path, key, os.O_RDONLY)
	if err != nil {
		return head{}, err
	}
	return h, f.Close()
}

// counted is readHeadAt for a caller who is about to take the record away: it returns false for what counts in no usage.
func (s *Store) counted(t *tenant, key storage.Key) (head, bool, error) {
	h, err := s.readHeadAt(t.path(key.ID), key)
	if errors.Is(err, storage.ErrNotFound) {
		return head{}, false, nil
	}
	return h, err == nil && !h.marker, err
}

// remove removes a record, if it is there. The caller holds the stripe.
func (s *Store) remove(t *tenant, key storage.Key) error {
	old, counted, err := s.counted(t, key)
	if err != nil {
		return err
	}
	err = s.root.Remove(t.path(key.ID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.queue.drop(t, key.ID)
	if counted && err == nil {
		t.add(storage.Usage{Records: -1, Bytes: -old.length})
	}
	return nil
}

// failure wraps err with the operation. The sentinels that are answers rather than failures stay as they are.
func failure(op string, err error) error {
	if _, wrapped := err.(*failed); wrapped || err == nil || err == storage.ErrNotFound || err == storage.ErrClosed {
		return err
	}
	return &failed{op, err}
}

// failed is an error of an operation. The names of records' files, which are hashes of session ids, are not in its text: that is for logs, which
// never have them.
type failed struct {
	op  string
	err error
}

func (f *failed) Error() string { return "file: " + f.op + ": " + withoutIDs(f.err.Error()) }
func (f *failed) Unwrap() error { return f.err }

// idNames are the names of records' files, with the sub-folder before and what a temporary file has behind.
var idNames = regexp.MustCompile(`(?:[0-9a-f]{2}/)?[0-9a-f]{64}(?:\.[0-9A-Za-z-]+\.tmp)?`)

func withoutIDs(text string) string { return idNames.ReplaceAllString(text, "…") }
