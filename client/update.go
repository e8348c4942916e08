package client

import (
	"context"
	"errors"
	"maps"
)

// Update changes the session with this id: it opens it alone, loads its values, lets change change them, and saves
// what is different then. Others who open the session meanwhile wait. If change returns an error nothing is saved,
// and Update returns that error. If it changes nothing the session merely counts as used. A session that does not
// exist is not made: that is an ErrNotFound, as is right for an id from a cookie.
//
// It answers what Open with ModeUpdate and Save do; on_lock_timeout does not matter here.
func (c *Client) Update(ctx context.Context, id string, change func(*Values) error) error {
	s, v, err := c.open(ctx, "update", id, OpenOptions{Mode: ModeUpdate}, true, false)
	if err != nil {
		return err
	}
	defer s.Abort(ctx) // also when change panics
	if err := change(v); err != nil {
		return err
	}
	return s.Save(ctx, v)
}

// Save saves what has been changed in v since it was loaded, and ends the session. If anything is refused nothing is
// saved, and the session is ended all the same.
//
// If the connection breaks, or the changes come too soon for a rate, the session is opened again. It is saved if its
// values are still those that v was loaded with, and nothing but Open and Save was done to it. It is saved already if they
// are those of v. Otherwise somebody else has changed it, which is an ErrLockLost.
//
// It takes one round trip where the server refuses or saves the changes as a whole: where v has only new values, or
// only removals, up to 1,024 and 2,048 of them, in a session that exists and to which nothing was done besides.
// Otherwise it makes sure of the changes in a round trip of its own.
func (s *Session) Save(ctx context.Context, v *Values) error {
	again := s.mode.writes() && !s.changed
	err := s.save(ctx, v, false)
	if again && (lost(err) || errors.Is(err, ErrRateLimited)) {
		return s.saveAgain(ctx, v, err)
	}
	return err
}

// saveAgain saves v after the session was lost while it was saved.
func (s *Session) saveAgain(ctx context.Context, v *Values, broke error) error {
	now, stored, err := s.client.open(ctx, "save", s.id, OpenOptions{Mode: s.mode}, true, false)
	switch {
	case errors.Is(err, ErrNotFound):
		return broke
	case err != nil:
		return err
	case maps.Equal(stored.now, v.was):
		return now.save(ctx, v, true)
	case maps.Equal(stored.now, v.now):
		return now.Close(ctx)
	}
	now.Abort(ctx)
	return refused("save", errChanged)
}

// save saves v, if apart not in the round trip in which the session ends: the end is never refused for a rate.
func (s *Session) save(ctx context.Context, v *Values, apart bool) error {
	requests := v.changes()
	if apart || len(requests) > 1 || len(requests) == 1 && s.unsaved {
		if _, err := s.all(ctx, "save", "+:", requests); err != nil {
			s.Abort(ctx)
			return err
		}
		requests = nil
	}
	replies, err := s.pipeline(ctx, "save", "+:", append(requests, []string{"close"})...)
	if err != nil {
		s.Abort(ctx)
		return err
	}
	if replies[len(replies)-1].Err == nil {
		s.end()
	}
	if e := first(replies); e != nil {
		err = s.refused("save", e)
		s.Abort(ctx)
	}
	return err
}
