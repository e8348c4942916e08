package file

import (
	"context"
	"errors"
	"time"

	"sessionserver/storage"
)

// retryAfter is when a record that could not be examined or removed has its next turn.
const retryAfter = time.Minute

// Sweep implements storage.Sweeper. It takes the records that are due from the queue, so that a sweep of a store in which
// nothing has expired costs nothing. What their files say counts.
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
			err = s.sweepOne(k.tenant, storage.Key{Tenant: k.tenant.name, ID: k.id}, &swept)
		}
		if err != nil {
			return swept, failure("sweep", err)
		}
	}
	_, swept.More = s.queue.due(s.now())
	return swept, nil
}

// Backlog implements storage.Backlogger. A record that could not be removed counts from its next turn on.
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

// sweepOne removes the record under key if it has expired, and sees to it that the key is not due any longer. What is no
// record is left to somebody who can tell what it is.
func (s *Store) sweepOne(t *tenant, key storage.Key, swept *storage.Swept) error {
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	h, err := s.readHeadAt(t.path(key.ID), key)
	switch {
	case errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt):
		s.queue.drop(t, key.ID)
		return nil
	case err == nil && !h.expired(s.now()): // a Put or Touch came first
		s.queue.set(t, key.ID, h.expires)
		return nil
	case err == nil:
		err = s.remove(t, key)
	}
	if err != nil {
		s.queue.set(t, key.ID, s.now().Add(retryAfter).UnixMilli()) // or no other would ever have its turn
		return err
	}
	if !h.marker {
		swept.Removed = append(swept.Removed, key)
	}
	return nil
}
