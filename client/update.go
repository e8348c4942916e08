package client

import "context"

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
// It takes one round trip where the server refuses or saves the changes as a whole: where v has only new values, or
// only removals, up to 1,024 and 2,048 of them, in a session that exists and to which nothing was done besides.
// Otherwise it makes sure of the changes in a round trip of its own.
func (s *Session) Save(ctx context.Context, v *Values) error {
	requests := v.changes()
	if len(requests) > 1 || len(requests) == 1 && s.unsaved {
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
