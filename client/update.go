package client

import (
	"context"
	"errors"
	"maps"
)

// Update changes the session with the given id. It opens the session in ModeUpdate, loads its values, calls the
// function change and saves the differences. Other clients that open the session wait meanwhile. If change returns an
// error, nothing is saved and Update returns that error. If change makes no difference, the session only counts as
// used.
//
// Update does not create a missing session but returns ErrNotFound, as it should for an id from a cookie. Its errors
// are those of Open and Save. It ignores on_lock_timeout.
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

// Save saves the changes made to v since it was loaded, and ends the session. If the server refuses any change, nothing
// is saved and the session ends nevertheless.
//
// If the connection breaks or a rate limit refuses the changes, Save opens the session again, provided that only Open
// and Save were used on it. Values still equal to those that v was loaded with are replaced; values equal to v are
// already saved. With any other values another client has changed the session, and Save returns ErrLockLost.
//
// Save takes one round trip if the server accepts or refuses the changes as a whole: up to 1,024 new values or up to
// 2,048 removals, but not both, in a session that exists and has no other unsaved changes. Otherwise Save sends the
// changes in a round trip of their own before it ends the session.
func (s *Session) Save(ctx context.Context, v *Values) error {
	retriable := s.mode.writes() && !s.changed
	err := s.save(ctx, v, false)
	if retriable && (connectionLost(err) || errors.Is(err, ErrRateLimited)) {
		return s.retrySave(ctx, v, err)
	}
	return err
}

// retrySave saves v in a reopened session after a save failed with the given cause.
func (s *Session) retrySave(ctx context.Context, v *Values, cause error) error {
	reopened, stored, err := s.client.open(ctx, "save", s.id, OpenOptions{Mode: s.mode}, true, false)
	switch {
	case errors.Is(err, ErrNotFound):
		return cause
	case err != nil:
		return err
	case maps.Equal(stored.current, v.loaded):
		return reopened.save(ctx, v, true)
	case maps.Equal(stored.current, v.current):
		return reopened.Close(ctx)
	}
	reopened.Abort(ctx)
	return opError("save", errChanged)
}

// save saves v and ends the session. If separate is true, the changes and the end take a round trip each: a rate limit
// may refuse a change but never the end, which would then save a part of the changes.
func (s *Session) save(ctx context.Context, v *Values, separate bool) error {
	requests := v.changes()
	if separate || len(requests) > 1 || len(requests) == 1 && s.unsaved {
		if _, err := s.doAll(ctx, "save", "+:", requests); err != nil {
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
	if e := firstError(replies); e != nil {
		err = s.opError("save", e)
		s.Abort(ctx)
	}
	return err
}
