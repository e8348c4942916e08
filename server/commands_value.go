package server

import (
	"errors"

	"sessionserver/session"
	"sessionserver/wire"
)

// valueCommands concern the values of the open session.
var valueCommands = []Command{
	{
		Name: "put", Usage: "key [value] (RESP: key value ...)", Help: "sets a value; a missing value is empty",
		Line: Arity{1, 2}, RESP: Arity{1, Many}, Needs: OpenSession, Access: Write, Keys: KeysAndValues, Cost: 1,
		Payload: ValuePayload, Run: runPut,
	},
	{
		Name: "get", Usage: "key (RESP: key ...)", Help: "returns a value",
		Line: Exactly(1), RESP: Arity{1, Many}, Needs: OpenSession, Access: Read, Keys: EveryKey, Cost: 1, Run: runGet,
	},
	{
		Name: "remove", Usage: "key (RESP: key ...)", Help: "removes a value",
		Line: Exactly(1), RESP: Arity{1, Many}, Needs: OpenSession, Access: Write, Keys: EveryKey, Cost: 1,
		Run: runRemove,
	},
	{
		Name: "exists", Usage: "key", Help: "reports whether a key exists",
		Line: Exactly(1), RESP: Exactly(1), Needs: OpenSession, Access: Read, Keys: FirstKey, Cost: 1, Run: runExists,
	},
	{
		Name: "keys", Help: "lists the keys: a|b|c in a line",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Read, Keys: SessionKeys, Cost: 1, Run: runKeys,
	},
	{
		Name: "get_all", Help: "returns all keys and values: PHP's serialize() format in a line, a map in RESP",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Read, Keys: SessionKeys, Cost: 2,
		Run: runGetAll,
	},
	{
		Name: "put_all", Usage: "array (RESP: key value ...)",
		Help: "replaces all keys and values; a line carries PHP's serialize() format",
		Line: Exactly(1), RESP: Arity{0, Many}, Needs: OpenSession, Access: Write, Keys: SessionKeys, Cost: 2,
		Payload: SessionPayload, Run: runPutAll,
	},
	{
		Name: "expire", Usage: "key seconds", Help: "gives a value a lifetime of its own; 0 removes the lifetime",
		Line: Exactly(2), RESP: Exactly(2), Needs: OpenSession, Access: Write, Keys: FirstKey, Cost: 1, Run: runExpire,
	},
}

func runPut(c *Call) error {
	if len(c.Args) > 2 {
		return c.done(c.Session().PutMany(c.pairs))
	}
	key, err := c.key(0)
	if err != nil {
		return err
	}
	var value []byte
	if len(c.Args) == 2 {
		value = c.Args[1]
	}
	return c.done(c.Session().Put(key, value))
}

// key returns argument i, which is a key. In line framing it refuses a key that a line cannot print, since no client
// could see such a key in line framing.
func (c *Call) key(i int) ([]byte, error) {
	key := c.Args[i]
	if c.Reply.Framing() == wire.Line && !wire.LineSafeKey(key) {
		return nil, wire.Errorf(wire.BadKey,
			"key contains space or |, which a line cannot carry; send the command in RESP framing")
	}
	return key, nil
}

// pairs calls put with the arguments of a RESP request as keys and values.
func (c *Call) pairs(put func(key, value []byte) error) error {
	if len(c.Args)%2 != 0 {
		return wire.Errorf(wire.BadArg, "last key has no value; usage: %s", c.Command.usage())
	}
	for i := 0; i < len(c.Args); i += 2 {
		if err := put(c.Args[i], c.Args[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func runGet(c *Call) error {
	if len(c.Args) == 1 {
		key, err := c.key(0)
		if err != nil {
			return err
		}
		value, err := c.Session().Get(key)
		switch {
		case errors.Is(err, session.ErrNoKey):
			c.Reply.NoKey()
		case err != nil:
			return err
		default:
			c.Reply.Value(value)
		}
		return nil
	}
	values, total := make([][]byte, len(c.Args)), 0
	for i, key := range c.Args {
		value, err := c.Session().Get(key)
		if err != nil && !errors.Is(err, session.ErrNoKey) {
			return err
		}
		if err == nil {
			values[i] = value[:len(value):len(value)]
		}
		// A small request that repeats a key must not cause a very large reply.
		if total += len(value); total > c.conn.server.opts.Limits.Request {
			return wire.Errorf(wire.TooLarge, "values exceed %d bytes in total; request fewer keys",
				c.conn.server.opts.Limits.Request)
		}
	}
	c.Reply.Values(values)
	return nil
}

func runRemove(c *Call) error {
	for i := range c.Args {
		key, err := c.key(i)
		if err == nil {
			err = session.CheckKey(key)
		}
		if err != nil {
			return err // before any key is removed
		}
	}
	n := 0
	for _, key := range c.Args {
		removed, err := c.Session().Remove(key)
		if err != nil {
			return err
		}
		if removed {
			n++
		}
	}
	c.Reply.Count(n)
	return nil
}

func runExists(c *Call) error {
	key, err := c.key(0)
	if err != nil {
		return err
	}
	n := 1
	_, err = c.Session().Get(key)
	if errors.Is(err, session.ErrNoKey) {
		n, err = 0, nil
	}
	if err == nil {
		c.Reply.Count(n)
	}
	return err
}

func runKeys(c *Call) error {
	visible, err := c.visible()
	if err != nil {
		return err
	}
	c.Reply.Keys(len(visible), func(i int) []byte {
		key, _ := c.Session().Pair(visible[i])
		return key
	})
	return nil
}

// visible returns the indexes of the keys that the policy allows the app to read.
func (c *Call) visible() ([]int, error) {
	n, err := c.Session().Len()
	if err != nil {
		return nil, err
	}
	visible := c.conn.visible[:0]
	for i := range n {
		key, _ := c.Session().Pair(i)
		allowed, err := c.allowed(key)
		if err != nil {
			return nil, err
		}
		if allowed {
			visible = append(visible, i)
		}
	}
	c.conn.visible = visible
	return visible, nil
}

func runGetAll(c *Call) error {
	visible, err := c.visible()
	if err != nil {
		return err
	}
	c.Reply.Map(len(visible), func(i int) (key, value []byte) { return c.Session().Pair(visible[i]) })
	return nil
}

// runPutAll replaces the values that the app may write, and keeps the others. A request that names one of the others
// is refused as a whole.
func runPutAll(c *Call) error {
	fill := c.pairs
	if c.Reply.Framing() == wire.Line {
		fill = c.phpArray
	}
	var undecided error
	writable := func(key []byte) bool {
		if undecided != nil {
			return false
		}
		var allowed bool
		allowed, undecided = c.allowed(key)
		return allowed
	}
	return c.done(c.Session().ReplaceWhere(writable, func(put func(key, value []byte) error) error {
		if undecided != nil {
			return undecided
		}
		return fill(func(key, value []byte) error {
			if err := c.decideKey(key); err != nil {
				return err
			}
			return put(key, value)
		})
	}))
}

// phpArray calls put with the keys and values of the array in a line.
func (c *Call) phpArray(put func(key, value []byte) error) error {
	err := wire.ParsePHPArray(c.Args[0], put)
	var malformed *wire.PHPError
	if errors.As(err, &malformed) {
		return wire.Errorf(wire.BadArg, "%v", malformed)
	}
	return err
}

func runExpire(c *Call) error {
	key, err := c.key(0)
	if err != nil {
		return err
	}
	d, err := seconds(c.Args[1])
	if err != nil {
		return err
	}
	return c.done(c.Session().Expire(key, d))
}
