package client

import (
	"context"
	"time"

	"sessionserver/wire"
)

// WhoAmI returns the identity of the client on the server, with the limits and the usage of its tenant. The keys of the
// map are names such as tenant, app, role, address, lifetime_s and max_sessions; the protocol document describes them
// under the command whoami.
func (c *Client) WhoAmI(ctx context.Context) (map[string]string, error) {
	cn, replies, err := c.begin(ctx, "whoami", []string{"%*"}, func(cn *conn) time.Duration {
		cn.queue("whoami")
		return 0
	})
	if err != nil {
		return nil, err
	}
	c.pool.put(cn)
	if e := firstError(replies); e != nil {
		return nil, opError("whoami", e)
	}
	return stringMap(replies[0]), nil
}

// stringMap returns the strings of a map reply.
func stringMap(r wire.Reply) map[string]string {
	values := make(map[string]string)
	for i := 0; i+1 < len(r.Items); i += 2 {
		values[string(r.Items[i].Bytes)] = string(r.Items[i+1].Bytes)
	}
	return values
}
