package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// dropStep is how many records DropTenant looks up at a time.
const dropStep = 256

// DropTenant removes all records of a tenant, which lie side by side. Each is removed like by Delete, with its entry in
// the expiry index and its share of the usage, so that all agree at every moment and after every crash. That takes a
// few microseconds a record, and no lock but the record's; Pebble's range deletion would be faster, but to know what it
// removes all writers would have to wait.
func (s *Store) DropTenant(ctx context.Context, name string) (removed int64, err error) {
	if err := checkTenant(name); err != nil {
		return 0, fmt.Errorf("pebble: drop tenant: %w", err)
	}
	from := appendTenantKey(nil, name)
	until := append(bytes.Clone(from), bytes.Repeat([]byte{0xff}, idLen+1)...)
	for from != nil && err == nil {
		from, err = s.dropSome(ctx, name, from, until, &removed)
	}
	if err == nil {
		err = s.endDrop(ctx, name, appendTenantKey(nil, name), until)
	}
	return removed, err
}

// dropSome removes the next records and answers where to go on, or nil.
func (s *Store) dropSome(ctx context.Context, name string, from, until []byte, removed *int64) (next []byte,
	err error) {
	if err := s.enter(ctx, "drop tenant"); err != nil {
		return nil, err
	}
	defer s.leave()
	ids, err := s.ids(from, until, dropStep)
	for _, id := range ids {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = s.dropOne(storage.Key{Tenant: name, ID: id}, removed)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("pebble: drop tenant: %w", err)
	}
	if len(ids) < dropStep {
		return nil, nil
	}
	return append(appendRecordKey(nil, storage.Key{Tenant: name, ID: ids[dropStep-1]}), 0), nil
}

// ids answers the ids of the first records between two keys of one tenant.
func (s *Store) ids(from, until []byte, limit int) (ids []storage.ID, err error) {
	it, err := s.db.NewIter(&pebbledb.IterOptions{LowerBound: from, UpperBound: until})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for it.First(); it.Valid() && len(ids) < limit; it.Next() {
		k, err := parseOwner(it.Key()[1:])
		if err != nil {
			return nil, err
		}
		ids = append(ids, k.ID)
	}
	return ids, it.Error()
}

func (s *Store) dropOne(k storage.Key, removed *int64) error {
	e := s.begin()
	defer e.end()
	st := s.stripe(k.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	c, err := e.look(k)
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if err := e.drop(c, k); err != nil {
		return err
	}
	if err := e.apply(false); err != nil {
		return err
	}
	if c.had {
		*removed += c.old.usage().Records
	}
	return nil
}

// endDrop sees to it that a tenant without records has no usage, also when some were damaged, and that nothing comes
// back.
func (s *Store) endDrop(ctx context.Context, name string, from, until []byte) error {
	if err := s.enter(ctx, "drop tenant"); err != nil {
		return err
	}
	defer s.leave()
	err := s.correctUsage(name, from, until)
	if err == nil {
		// Nothing is written by this, but when it is on disk all that was written before it is there.
		err = s.db.LogData(nil, pebbledb.Sync)
	}
	if err == nil {
		err = s.Err()
	}
	if err != nil {
		return fmt.Errorf("pebble: drop tenant: %w", err)
	}
	return nil
}

func (s *Store) correctUsage(name string, from, until []byte) error {
	t := s.tenants.find(name)
	if t == nil || t.usage() == (storage.Usage{}) {
		return nil
	}
	for i := range s.stripes { // nobody writes
		s.stripes[i].mu.Lock()
		defer s.stripes[i].mu.Unlock()
	}
	ids, err := s.ids(from, until, 1)
	if err != nil || len(ids) > 0 { // somebody has written meanwhile; damaged records go on counting
		return err
	}
	u := t.usage()
	u.Records, u.Bytes = -u.Records, -u.Bytes
	if err := s.db.Merge(appendUsageKey(nil, name), appendUsage(nil, u), pebbledb.NoSync); err != nil {
		s.disk.fail("apply", "", err)
		return err
	}
	t.add(u)
	return nil
}
