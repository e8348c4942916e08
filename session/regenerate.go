package session

import (
	"context"
	"fmt"
	"time"

	"sessionserver/storage"
)

// Each Regenerate with a grace period leaves an alias, which leads to the next id. An old id of a session that moves
// often leads to it over many aliases. To keep this cheap, at most aliasesMax are followed. Beyond that the id is
// refused as if the grace period were over; newer ids still lead to the session.
//
// Following also ends with the context. In a mode that takes a lock it ends after followTime, or after the wait for
// the lock if that is longer.
const (
	aliasesMax = 1000
	followTime = time.Second
)

// checkAliases returns an error if a client that has followed this many aliases must stop.
func checkAliases(ctx context.Context, aliases int) error {
	switch {
	case aliases == 0:
		return nil
	case aliases > aliasesMax:
		return fmt.Errorf("%w: it has moved more than %d times since it had this id; use its newest id", ErrNotFound,
			aliasesMax)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// successor is an id to which a session is to move, and the lock of that id. After a failed Regenerate, the store
// may have the session under either id. So the lock is kept until the session has been saved or moved after all, or
// has ended.
type successor struct {
	id   string
	hold *hold // nil if there is no successor
}

func (n *successor) release() {
	if n.hold != nil {
		n.hold.release()
		n.hold = nil
	}
}

// deleteNext removes the record that a failed Regenerate may have left under the new id, now that the session is
// saved under the old one. If that fails, the record stays until it expires, under an id that no client received.
func (s *Session) deleteNext(ctx context.Context) {
	if s.next.hold == nil {
		return
	}
	if s.next.hold.beginSave() {
		_ = s.m.store.Delete(ctx, s.next.hold.key())
		s.next.hold.endSave()
	}
	s.next.release()
}

// Regenerate moves the session, as it was last saved, to a new id together with the lock. Unsaved changes stay in
// memory and are saved there. During the grace period the old id leads to the new session, and its waiters wait for
// the new session. After that, or at once with a grace of 0, the old id is a tombstone.
//
// On an error the session is still open under its old id. The exceptions are ErrLockLost, and ErrNotFound when the
// absolute lifetime is over, which both end the session.
func (s *Session) Regenerate(ctx context.Context, grace time.Duration) (string, error) {
	if err := s.writable(); err != nil {
		return "", err
	}
	if limit := s.settings().GraceMax; grace < 0 || grace > limit {
		return "", fmt.Errorf("%w: a grace period of %v (allowed: 0s to %v)", ErrBadDuration, grace, limit)
	}
	now := time.Now()
	if s.rec.outlived(s.settings(), now) {
		return "", s.endOutlived()
	}
	// The session may be stored twice for a moment, or for longer if the store fails. No quota refuses a move.
	var more storage.Usage
	if s.stored {
		more = storage.Usage{Records: 1, Bytes: int64(len(s.loaded))}
	}
	reserved, err := s.m.reserve(ctx, s.tenant, &noQuotas, s.key.ID, more)
	if err != nil {
		return "", err
	}
	defer reserved.release()
	if !s.hold.beginSave() {
		return "", s.lockLost()
	}
	// From here on the old lock cannot be lost. The new one is taken before any client can reach the new id.
	if s.next.hold == nil || !s.next.hold.beginSave() {
		id := newID()
		key := storage.Key{Tenant: s.key.Tenant, ID: Hash([]byte(id))}
		s.next = successor{id: id, hold: s.m.locks.lockSuccessor(s.hold, key)}
	}
	key := s.next.hold.key()
	var mk marker
	if grace > 0 {
		mk = marker{target: key.ID, followUntil: now.Add(grace)}
	}
	entries := []storage.Entry{{Key: s.key, Record: tombstone(s.tenant, mk)}}
	expires := s.rec.end(s.settings(), s.idle, now)
	if s.stored {
		// The session comes first, so that a store that cannot write both at once never has neither.
		entries = []storage.Entry{{Key: key, Record: storage.Record{Data: s.loaded, Expires: expires}}, entries[0]}
	}
	if err := storage.PutAll(ctx, s.m.store, entries); err != nil {
		s.next.hold.endSave()
		s.hold.endSave()
		s.dirty = true // the store may hold the marker
		return "", storeError("regenerate", err)
	}
	id, moved := s.next.id, s.next.hold
	s.next = successor{}
	if grace > 0 {
		s.m.locks.move(s.hold, moved)
	} else {
		moved.endSave()
		s.hold.endSave()
		s.hold.release() // its waiters find the tombstone
	}
	s.m.observe(Event{Kind: Regenerated, Tenant: s.key.Tenant, ID: s.key.ID})
	s.hold, s.key = moved, key
	if s.stored {
		s.expires = expires
	}
	return id, nil
}
