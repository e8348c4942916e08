package server

import (
	"fmt"
	"os"
	"strings"

	"sessionserver/wire"
)

// redisCommands are the commands that Redis client libraries send when they connect. They work in both framings where
// a line can carry the reply.
var redisCommands = []Command{
	{
		Name: "echo", Usage: "text", Help: "returns the text",
		Line: Exactly(1), RESP: Exactly(1), Needs: Nothing, Access: None, Cost: 1, Run: runEcho,
	},
	{
		Name: "select", Usage: "0", Help: "does nothing: a tenant has one database, 0",
		Line: Exactly(1), RESP: Exactly(1), Needs: Nothing, Access: None, Cost: 1, Run: runSelect,
	},
	{
		Name: "client", Usage: "setinfo|setname|getname|id|no-evict|no-touch [value ...]",
		Help: "sets or returns properties of the connection",
		Line: Arity{1, 3}, RESP: Arity{1, 8}, Needs: Nothing, Access: None, Cost: 1, Run: runClient,
	},
	{
		Name: "command", Usage: "[count|docs|info|list [name ...]]",
		Help: "describes the commands to Redis libraries; people use help",
		Line: Arity{0, 1}, RESP: Arity{0, Many}, Needs: Nothing, Access: None, Cost: 1, Run: runCommand,
	},
	{
		Name: "info", Usage: "[section ...]", Help: "describes the server to Redis libraries",
		Line: Arity{0, 1}, RESP: Arity{0, Many}, Needs: Nothing, Access: None, Cost: 1, Run: runInfo,
	},
	{
		Name: "reset", Help: "drops unsaved changes and resets the connection to its initial state",
		Line: Exactly(0), RESP: Exactly(0), Needs: Nothing, Access: None, Cost: 1, Releases: true, Run: runReset,
	},
}

func runEcho(c *Call) error {
	c.Reply.Value(c.Args[0])
	return nil
}

func runSelect(c *Call) error {
	if string(c.Args[0]) != "0" {
		return wire.Errorf(wire.BadArg, "unknown database (allowed: 0, the only database of a tenant)")
	}
	c.Reply.OK()
	return nil
}

func runClient(c *Call) error {
	switch sub := strings.ToLower(string(c.Args[0])); {
	case sub == "id" && len(c.Args) == 1:
		c.Reply.Int(int64(c.conn.caller.info.ID))
	case sub == "getname" && len(c.Args) == 1:
		c.Reply.Value([]byte(c.conn.caller.name))
	case sub == "setname" && len(c.Args) == 2:
		if err := checkConnName(c.Args[1]); err != nil {
			return err
		}
		c.conn.caller.name = string(c.Args[1])
		c.Reply.OK()
	case sub == "setinfo" && len(c.Args) == 3, (sub == "no-evict" || sub == "no-touch") && len(c.Args) == 2:
		c.Reply.OK()
	default:
		return wire.Errorf(wire.BadArg, "usage: %s", c.Command.usage())
	}
	return nil
}

// checkConnName returns an error for a name that is too long to be stored.
func checkConnName(name []byte) error {
	if len(name) > 64 {
		return wire.Errorf(wire.BadArg, "the connection name has %d bytes (allowed: up to 64)", len(name))
	}
	return nil
}

func runCommand(c *Call) error {
	rows := c.conn.table().rows
	sub := ""
	if len(c.Args) > 0 {
		sub = strings.ToLower(string(c.Args[0]))
	}
	if sub == "count" {
		c.Reply.Int(int64(len(rows)))
		return nil
	}
	if c.Reply.Framing() == wire.Line {
		return wire.Errorf(wire.BadArg, "a line cannot carry the reply; send the command in RESP framing, or try: help")
	}
	if sub != "" && len(c.Args) > 1 {
		rows = nil
		for _, name := range c.Args[1:] {
			if row := c.conn.table().lookup(name); row != nil {
				rows = append(rows, row)
			}
		}
	}
	switch sub {
	case "", "info":
		c.Reply.Array(len(rows))
		for _, row := range rows {
			row.describe(c.Reply)
		}
	case "list":
		c.Reply.Array(len(rows))
		for _, row := range rows {
			c.Reply.Text(row.Name)
		}
	case "docs":
		c.Reply.OpenMap(len(rows))
		for _, row := range rows {
			c.Reply.Text(row.Name)
			c.Reply.OpenMap(2)
			for _, text := range []string{"summary", row.usage() + ": " + row.Help, "group", "sessionserver"} {
				c.Reply.Text(text)
			}
		}
	default:
		return wire.Errorf(wire.BadArg, "usage: %s", c.Command.usage())
	}
	return nil
}

// describe adds the reply of COMMAND for one command: name, arity (with the name, negative for a minimum) and flags.
// The positions of keys are 0, since only proxies of a Redis Cluster use them.
func (cmd *Command) describe(reply *wire.Encoder) {
	arity := int64(cmd.RESP.Min + 1)
	if cmd.RESP.Max != cmd.RESP.Min {
		arity = -arity
	}
	flag := "write"
	if cmd.Access != Write {
		flag = "readonly"
	}
	reply.Array(6)
	reply.Text(cmd.Name)
	reply.Int(arity)
	reply.Array(1)
	reply.Status(flag)
	for range 3 {
		reply.Int(0)
	}
}

func runInfo(c *Call) error {
	if c.Reply.Framing() == wire.Line {
		return wire.Errorf(wire.BadArg,
			"a line cannot carry the reply; send the command in RESP framing, or try: hello")
	}
	c.Reply.Text(fmt.Sprintf("# Server\r\nsessionserver_version:%s\r\nredis_mode:standalone\r\nprocess_id:%d\r\n"+
		"# Persistence\r\nloading:0\r\n", c.conn.server.opts.Version, os.Getpid()))
	return nil
}

func runReset(c *Call) error {
	c.conn.abandon()
	c.conn.caller.name = ""
	if err := c.conn.become(c.conn.initial()); err != nil {
		return err
	}
	if !c.Identity().IsZero() {
		c.fact = c.conn.caller.authentication()
	}
	c.Reply.SetProto(2)
	c.Reply.Status("RESET")
	return nil
}
