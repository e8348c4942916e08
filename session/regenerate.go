package session

import (
	"context"
	"fmt"
	"time"

	"sessionserver/storage"
)

// Each Regenerate with a grace period leaves an alias behind, which leads to the next: by an old id, a session that moves
// often is found over many. So that this stays cheap, an id is followed over aliasesMax of them; beyond that it is as if
// the grace period were over, and only the newer ids lead to the session. The way also ends with the context, and, for
// those who want a lock, after followTime or as long as they would wait for it, if that is longer.
const (
	aliasesMax = 1000
	followTime = time.Second
)

// onward answers why one should not go on after having followed this many aliases.
func onward(ctx context.Context, aliases int) error {
	switch {
	case aliases == 0:
		return nil
	case aliases > aliasesMax:
		return fmt.Errorf("%w: it has moved more than %d times since it had this id", ErrNotFound, aliasesMax)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// successor is an id to which a session is to move, and its lock. After a failed Regenerate nobody knows which of the
// two ids the store has the session under, so its lock is kept, until the session has been saved or moved after all,
// or has ended.
type successor struct {
	id   string
	hold *hold // nil: there is none
}

func (n *successor) release() {
	if n.hold != nil {
		n.hold.release()
		n.hold = nil
	}
}

// forgetNext removes what a failed Regenerate may have left under the new id, now that the session is safe under the
// old one. At worst that stays, under an id that nobody was told, until it expires.
func (s *Session) forgetNext(ctx context.Context) {
	if s.next.hold == nil {
		return
	}
	if s.next.hold.beginSave() {
		_ = s.m.store.Delete(ctx, s.next.hold.key())
		s.next.hold.endSave()
	}
	s.next.release()
}

// Regenerate moves the session, as it was last saved, to a new id together with the lock; what is not saved yet stays
// open and is saved there. For the grace period the old id leads to the new session, and those who wait for it go on
// waiting for that; then it is burnt, with a grace of 0 at once. On an error the session is still open under its old
// id, unless the error is ErrLockLost or, when its absolute lifetime is over, ErrNotFound.
func (s *Session) Regenerate(ctx context.Context, grace time.Duration) (string, error) {
	if err := s.writable(); err != nil {
		return "", err
	}
	if most := s.settings().GraceMax; grace < 0 || grace > most {
		return "", fmt.Errorf("%w: a grace period of %v (allowed: 0s to %v)", ErrBadDuration, grace, most)
	}
	now := time.Now()
	if s.rec.outlived(s.settings(), now) {
		return "", s.outlived()
	}
	// It may be there twice for a moment, or for good if the store fails, but no quota keeps a session from moving.
	var more storage.Usage
	if s.stored {
		more = storage.Usage{Records: 1, Bytes: int64(len(s.loaded))}
	}
	booked, err := s.m.book(ctx, s.tenant, &noQuotas, s.key.ID, more)
	if err != nil {
		return "", err
	}
	defer booked.settle()
	if !s.hold.beginSave() {
		return "", s.lockLost()
	}
	// From here on the old lock cannot be lost. The new one is taken before anybody can be led to it.
	if s.next.hold == nil || !s.next.hold.beginSave() {
		id := mintID()
		s.next = successor{id: id, hold: s.m.locks.follow(s.hold, storage.Key{Tenant: s.key.Tenant, ID: Hash([]byte(id))})}
	}
	key := s.next.hold.key()
	var mk marker
	if grace > 0 {
		mk = marker{target: key.ID, followUntil: now.Add(grace)}
	}
	entries := []storage.Entry{{Key: s.key, Record: burnt(s.tenant, mk)}}
	expires := s.rec.end(s.settings(), s.idle, now)
	if s.stored {
		// The session first, so that a store that cannot write both at once never has neither.
		entries = []storage.Entry{{Key: key, Record: storage.Record{Data: s.loaded, Expires: expires}}, entries[0]}
	}
	if err := storage.PutAll(ctx, s.m.store, entries); err != nil {
		s.next.hold.endSave()
		s.hold.endSave()
		s.dirty = true // who knows what is stored now
		return "", storeError("regenerate", err)
	}
	id, moved := s.next.id, s.next.hold
	s.next = successor{}
	if grace > 0 {
		s.m.locks.move(s.hold, moved)
	} else {
		moved.endSave()
		s.hold.endSave()
		s.hold.release() // those who wait for it will find it burnt
	}
	s.m.observe(Event{Kind: Regenerated, Tenant: s.key.Tenant, ID: s.key.ID})
	s.hold, s.key = moved, key
	if s.stored {
		s.expires = expires
	}
	return id, nil
}
