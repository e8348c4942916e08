package session

import (
	"context"
	"fmt"
	"time"

	"sessionserver/storage"
)

// Regenerate moves the session, as it was last saved, to a new id together with the lock; what is not saved yet stays open and is saved
// there. For the grace period the old id leads to the new session, and those who wait for it go on waiting for that; then it is burnt, with a grace
// of 0 at once. On an error the session is still open under its old id.
func (s *Session) Regenerate(ctx context.Context, grace time.Duration) (string, error) {
	if err := s.writable(); err != nil {
		return "", err
	}
	if most := s.tenant.Settings.GraceMax; grace < 0 || grace > most {
		return "", fmt.Errorf("%w: a grace period of %v (allowed: 0s to %v)", ErrBadDuration, grace, most)
	}
	id := mintID()
	key := storage.Key{Tenant: s.key.Tenant, ID: Hash([]byte(id))}
	if !s.hold.beginSave() {
		return "", s.lockLost()
	}
	// From here on the old lock cannot be lost. The new one is taken before anybody can be led to it.
	moved := s.m.locks.follow(s.hold, key)
	now := time.Now()
	var mk marker
	if grace > 0 {
		mk = marker{target: key.ID, followUntil: now.Add(grace)}
	}
	entries := []storage.Entry{{Key: s.key, Record: burnt(s.tenant, mk)}}
	expires := s.rec.end(s.tenant.Settings, now)
	if s.committed != nil {
		// The session first, so that a store that cannot write both at once never has neither.
		entries = []storage.Entry{{Key: key, Record: storage.Record{Data: s.committed, Expires: expires}}, entries[0]}
	}
	if err := storage.PutAll(ctx, s.m.store, entries); err != nil {
		moved.endSave()
		moved.release()
		s.hold.endSave()
		return "", storeError("regenerate", err)
	}
	if grace > 0 {
		s.m.locks.move(s.hold, moved)
	} else {
		moved.endSave()
		s.hold.endSave()
		s.hold.release() // those who wait for it will find it burnt
	}
	s.m.observe(Event{Kind: Regenerated, Tenant: s.key.Tenant, ID: s.key.ID})
	s.hold, s.key = moved, key
	if s.committed != nil {
		s.expires = expires
	}
	return id, nil
}
