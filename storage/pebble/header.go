package pebble

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// stripeCount is how many locks share the keys: enough that two writers seldom meet by chance.
const stripeCount = 256

// stripe guards the keys that fall to it, and remembers the headers of some of them.
type stripe struct {
	// mu is held while a record under one of the stripe's keys is examined and changed, from the look at its header
	// until the change can be seen by readers, but not while its author waits for the disk. Who needs several takes
	// them in order.
	mu sync.Mutex

	headers map[headerKey]header // guarded by mu; bounded by Store.perStripe

	// writes counts the changes that can be seen. It lets a reader know, under mu, that what it had read without mu is
	// still true.
	writes atomic.Uint64
}

// headerKey has no pointers, which spares the garbage collector the tables.
type headerKey struct {
	tenant uint32
	id     storage.ID
}

func stripeIndex(id storage.ID) int {
	// Ids are hashes; the multiplication is for the sake of those in tests.
	n := binary.LittleEndian.Uint64(id[:]) ^ binary.LittleEndian.Uint64(id[24:])
	return int(n * 0x9e3779b97f4a7c15 >> 56)
}

func (s *Store) stripe(id storage.ID) *stripe { return &s.stripes[stripeIndex(id)] }

// header answers what is known of the record under k, from memory or from the disk. The caller holds st.mu, the key's
// stripe.
//
// A record that is damaged answers an error that wraps storage.ErrCorrupt.
func (s *Store) header(st *stripe, t *tenant, k storage.Key) (h header, ok bool, err error) {
	hk := headerKey{t.number, k.ID}
	if h, ok = st.headers[hk]; ok {
		return h, true, nil
	}
	h, ok, err = s.readHeader(k)
	if ok {
		s.remember(st, hk, h)
	}
	return h, ok, err
}

func (s *Store) readHeader(k storage.Key) (header, bool, error) {
	var buf [maxKeyLen]byte
	v, closer, err := s.get(appendRecordKey(buf[:0], k))
	if err != nil || closer == nil {
		return header{}, false, err
	}
	defer closer.Close()
	h, _, ok, err := parseRecord(v)
	return h, ok, err
}

// get answers the value under a key of the library, which is valid until the closer is closed; without a closer there
// is none.
func (s *Store) get(key []byte) ([]byte, io.Closer, error) {
	v, closer, err := s.db.Get(key)
	switch {
	case errors.Is(err, pebbledb.ErrNotFound):
		return nil, nil, nil
	case pebbledb.IsCorruptionError(err):
		return nil, nil, errors.Join(storage.ErrCorrupt, err)
	case err != nil:
		return nil, nil, err
	}
	return v, closer, nil
}

// remember puts a header into the stripe's table; where there is no room some other leaves. The caller holds st.mu.
func (s *Store) remember(st *stripe, hk headerKey, h header) {
	if _, ok := st.headers[hk]; !ok && len(st.headers) >= s.perStripe {
		for old := range st.headers {
			delete(st.headers, old)
			break
		}
	}
	st.headers[hk] = h
}

// rememberRead puts the header of a record that a reader has found into the table, unless it would have to wait or
// something was written to the stripe since before the reader looked, when writes was as given.
func (s *Store) rememberRead(k storage.Key, h header, writes uint64) {
	t := s.tenants.find(k.Tenant)
	st := s.stripe(k.ID)
	if t == nil || !st.mu.TryLock() {
		return
	}
	defer st.mu.Unlock()
	hk := headerKey{t.number, k.ID}
	if _, known := st.headers[hk]; !known && st.writes.Load() == writes {
		s.remember(st, hk, h)
	}
}
