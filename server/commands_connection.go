package server

import (
	"strconv"
	"strings"
	"time"

	"sessionserver/session"
	"sessionserver/wire"
)

// connectionCommands are the commands about the connection itself.
var connectionCommands = []Command{
	{
		Name: "auth", Usage: "tenant/app secret", Help: "authenticates the connection",
		Line: Exactly(2), RESP: Exactly(2), Needs: Nothing, Access: None, Cost: 1, Run: runAuth,
	},
	{
		Name: "hello", Usage: "[2|3 [AUTH tenant/app secret] [SETNAME name]]",
		Help: "describes the server; in RESP also selects the protocol version",
		Line: Exactly(0), RESP: Arity{0, 6}, Needs: Nothing, Access: None, Cost: 1, Run: runHello,
	},
	{
		Name: "whoami", Help: "returns the identity of the connection, and the limits and usage of its tenant",
		Line: Exactly(0), RESP: Exactly(0), Needs: Identity, Access: None, Cost: 1, Run: runWhoami,
	},
	{
		Name: "ping", Usage: "[text]", Help: "returns PONG, or the text",
		Line: Arity{0, 1}, RESP: Arity{0, 1}, Needs: Nothing, Access: None, Cost: 1, Run: runPing,
	},
	{
		Name: "help", Usage: "[command]", Help: "lists the commands, or describes one",
		Line: Arity{0, 1}, RESP: Arity{0, 1}, Needs: Nothing, Access: None, Cost: 1, Run: runHelp,
	},
	{
		Name: "quit", Help: "drops unsaved changes and closes the connection",
		Line: Exactly(0), RESP: Exactly(0), Needs: Nothing, Access: None, Cost: 1, Releases: true, Run: runQuit,
	},
}

func runAuth(c *Call) error {
	if err := c.conn.authenticate(string(c.Args[0]), string(c.Args[1])); err != nil {
		return err
	}
	c.Reply.OK()
	return nil
}

// runWhoami replies with a map of texts, or in a line with name=value pairs. A limit of 0 means unlimited.
func runWhoami(c *Call) error {
	a := &c.conn.caller.access
	rules := a.rules.sessions.Settings
	// Usage that the store does not count, or cannot return now, is 0, and not an error.
	used, _ := c.conn.server.opts.Sessions.Usage(c.Context(), a.grant.Identity.Tenant)
	fields := [][2]string{
		{"tenant", a.grant.Identity.Tenant},
		{"app", a.grant.Identity.App},
		{"role", string(a.grant.Role)},
		{"address", c.conn.caller.remote()},
		{"tls", c.conn.caller.info.tlsVersion()},
		{"lifetime_s", strconv.FormatInt(int64(rules.Lifetime/time.Second), 10)},
		{"absolute_lifetime_s", strconv.FormatInt(int64(rules.AbsoluteLifetime/time.Second), 10)},
		{"strict", strconv.FormatBool(rules.Strict)},
		{"lock_wait_ms", lockWait(c.tenant())},
		{"lock_lease_ms", strconv.FormatInt(rules.LockLease.Milliseconds(), 10)},
		{"max_keys", strconv.Itoa(rules.MaxKeys)},
		{"max_value", strconv.Itoa(rules.MaxValue)},
		{"max_bytes", strconv.Itoa(rules.MaxBytes)},
		{"sessions", strconv.FormatInt(used.Sessions, 10)},
		{"max_sessions", strconv.FormatInt(int64(rules.MaxSessions), 10)},
		{"bytes", strconv.FormatInt(used.Bytes, 10)},
		{"max_total_bytes", strconv.FormatInt(int64(rules.MaxTotalBytes), 10)},
		{"waiters", strconv.FormatInt(used.Waiters, 10)},
		{"max_waiters", strconv.FormatInt(int64(rules.MaxWaiters), 10)},
		{"connections", strconv.FormatInt(a.rules.usage.conns.Load(), 10)},
		{"max_connections", strconv.Itoa(a.rules.maxConns)},
	}
	if c.Reply.Framing() == wire.RESP {
		c.Reply.OpenMap(len(fields))
		for _, f := range fields {
			c.Reply.Text(f[0])
			c.Reply.Text(f[1])
		}
		return nil
	}
	line := make([]string, len(fields))
	for i, f := range fields {
		line[i] = f[0] + "=" + f[1]
	}
	c.Reply.Text(strings.Join(line, " "))
	return nil
}

// lockWait returns the time in milliseconds that an open without a time of its own waits.
func lockWait(t *session.Tenant) string {
	return strconv.FormatInt(t.Settings.LockWait.Milliseconds(), 10)
}

func runPing(c *Call) error {
	if len(c.Args) == 1 {
		c.Reply.Value(c.Args[0])
	} else {
		c.Reply.Status("PONG")
	}
	return nil
}

func runHelp(c *Call) error {
	t := c.conn.table()
	if len(c.Args) == 0 {
		names := make([]string, len(t.rows))
		for i, row := range t.rows {
			names[i] = row.Name
		}
		c.Reply.Text(strings.Join(names, " "))
		return nil
	}
	cmd := t.lookup(c.Args[0])
	if cmd == nil {
		return wire.Errorf(wire.Unknown, "unknown command %.*q; try: help", 40, c.Args[0])
	}
	c.Reply.Text(cmd.usage() + ": " + cmd.Help)
	return nil
}

func runQuit(c *Call) error {
	c.conn.end.because(Quit)
	c.Reply.OK()
	return nil
}

func runHello(c *Call) error {
	version := c.conn.server.opts.Version
	if c.Reply.Framing() == wire.Line {
		c.Reply.Text("sessionserver " + version)
		return nil
	}
	proto, name, err := c.hello()
	if err != nil {
		return err
	}
	if name != nil {
		c.conn.caller.name = string(name)
	}
	c.Reply.SetProto(proto)
	identified := c.conn.caller.access.rules != nil
	fields := 7
	if identified {
		fields += 3
	}
	c.Reply.OpenMap(fields)
	for _, field := range [][2]string{{"server", "sessionserver"}, {"version", version}, {"mode", "standalone"},
		{"role", "master"}} {
		c.Reply.Text(field[0])
		c.Reply.Text(field[1])
	}
	c.Reply.Text("proto")
	c.Reply.Int(int64(proto))
	c.Reply.Text("id")
	c.Reply.Int(int64(c.conn.caller.info.ID))
	c.Reply.Text("modules")
	c.Reply.Array(0)
	if identified {
		id := c.Identity()
		for _, field := range [][2]string{
			{"tenant", id.Tenant}, {"app", id.App}, {"lock_wait_ms", lockWait(c.tenant())},
		} {
			c.Reply.Text(field[0])
			c.Reply.Text(field[1])
		}
	}
	return nil
}

// hello decodes the arguments of HELLO. If all of them are valid and contain credentials, it authenticates.
func (c *Call) hello() (proto int, name []byte, err error) {
	proto, args := c.Reply.Proto(), c.Args
	if len(args) > 0 {
		if v := string(args[0]); v != "2" && v != "3" {
			return 0, nil, wire.Errorf(wire.BadArg, "unknown protocol version %.*q (allowed: 2, 3)", 20, v)
		}
		proto, args = int(args[0][0]-'0'), args[1:]
	}
	var credentials [][]byte
	for len(args) > 0 {
		switch option := strings.ToLower(string(args[0])); {
		case option == "auth" && len(args) >= 3:
			credentials, args = args[1:3], args[3:]
		case option == "setname" && len(args) >= 2:
			name, args = args[1], args[2:]
			if err := checkConnName(name); err != nil {
				return 0, nil, err
			}
		default:
			return 0, nil, wire.Errorf(wire.BadArg, "usage: %s", c.Command.usage())
		}
	}
	if credentials != nil {
		if err := c.conn.authenticate(string(credentials[0]), string(credentials[1])); err != nil {
			return 0, nil, err
		}
	}
	return proto, name, nil
}
