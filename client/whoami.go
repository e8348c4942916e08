package client

import (
	"context"
	"time"

	"sessionserver/wire"
)

// WhoAmI asks the server who the client acts as there, and what its tenant may have and has: a map of names, such as
// tenant, app, role, address, lifetime_s and max_sessions, to their values. See the command whoami in the protocol
// document.
func (c *Client) WhoAmI(ctx context.Context) (map[string]string, error) {
	cn, replies, err := c.begin(ctx, "whoami", []string{"%*"}, func(cn *conn) time.Duration {
		cn.queue("whoami")
		return 0
	})
	if err != nil {
		return nil, err
	}
	c.pool.put(cn)
	if e := first(replies); e != nil {
		return nil, refused("whoami", e)
	}
	return factsOf(replies[0]), nil
}

// factsOf reads the reply to whoami.
func factsOf(r wire.Reply) map[string]string {
	facts := make(map[string]string)
	for i := 0; i+1 < len(r.Items); i += 2 {
		facts[string(r.Items[i].Bytes)] = string(r.Items[i+1].Bytes)
	}
	return facts
}
