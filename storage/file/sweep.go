package file

import (
	"context"
	"errors"
	"time"

	"sessionserver/storage"
)

// retryAfter is the delay before a record that could not be examined or removed is tried again.
const retryAfter = time.Minute

// Sweep implements storage.Sweeper. It gets the expired records from the queue, so sweeping a store without expired
// records costs nothing. The expiry in the file decides.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	if err := s.enterWrite(ctx); err != nil {
		return storage.Swept{}, failure("sweep", err)
	}
	defer s.leave()
	s.sweep.Lock()
	defer s.sweep.Unlock()
	var swept storage.Swept
	for range max(limit, 1) {
		k, ok := s.queue.due(s.now())
		if !ok {
			return swept, nil
		}
		err := ctx.Err()
		if err == nil {
			err = s.sweepRecord(k.tenant, storage.Key{Tenant: k.tenant.name, ID: k.id}, &swept)
		}
		if err != nil {
			return swept, failure("sweep", err)
		}
	}
	_, swept.More = s.queue.due(s.now())
	return swept, nil
}

// Backlog implements storage.Backlogger. A record that could not be removed counts from its next attempt on.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, failure("backlog", err)
	}
	defer s.leave()
	at, ok := s.queue.first()
	if !ok || at.After(s.now()) {
		return time.Time{}, nil
	}
	return at, nil
}

// sweepRecord removes the record under key if it has expired, and makes sure that the key is no longer due. A
// damaged file is left for the operator.
func (s *Store) sweepRecord(t *tenant, key storage.Key, swept *storage.Swept) error {
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	h, err := s.readHeadAt(t.path(key.ID), key)
	switch {
	case errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt):
		s.queue.remove(t, key.ID)
		return nil
	case err == nil && !h.expired(s.now()): // after a concurrent Put or Touch
		s.queue.set(t, key.ID, h.expires)
		return nil
	case err == nil:
		err = s.remove(t, key)
	}
	if err != nil {
		s.queue.set(t, key.ID, s.now().Add(retryAfter).UnixMilli()) // or it would block all others
		return err
	}
	if !h.marker {
		swept.Removed = append(swept.Removed, key)
	}
	return nil
}
