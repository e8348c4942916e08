package server

import (
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"sessionserver/audit"
	"sessionserver/session"
	"sessionserver/wire"
)

// sessionCommands begin and end sessions, and concern a session as a whole.
var sessionCommands = []Command{
	{
		Name: "new", Usage: "[lifetime_s]", Help: "creates a session, opens it for writing and returns its id",
		Line: Arity{0, 1}, RESP: Arity{0, 1}, Needs: NoSession, Access: Write, Mode: newMode, Cost: 2, Run: runNew,
	},
	{
		Name: "open", Usage: "id [rw|w|u|r|s [wait_ms]]", Help: "opens a session after waiting for its lock",
		Line: Arity{1, 3}, RESP: Arity{1, 3}, Needs: NoSession, Access: Write, AccessOf: modeAccess, Mode: openMode,
		Cost: 2, TakesID: true, Run: runOpen,
	},
	{
		Name: "close", Help: "saves the session, releases its lock and closes it",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Write, AccessOf: modeAccess, Cost: 4,
		Releases: true, Waits: true, Run: runClose,
	},
	{
		Name: "commit", Help: "saves the session, releases its lock and continues read-only",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Write, AccessOf: modeAccess, Cost: 4,
		Releases: true, Waits: true, Run: runCommit,
	},
	{
		Name: "abort", Help: "closes the session without saving it",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: None, Cost: 1, Releases: true, Run: runAbort,
	},
	{
		Name: "destroy", Help: "removes the session; its id cannot be used again",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Write, Cost: 4, Releases: true, Waits: true,
		Run: runDestroy,
	},
	{
		Name: "regenerate_id", Usage: "[grace_s]",
		Help: "moves the session to a new id and returns it; during the grace period the old id leads there",
		Line: Arity{0, 1}, RESP: Arity{0, 1}, Needs: OpenSession, Access: Write, Cost: 4, Waits: true,
		Run: runRegenerate,
	},
	{
		Name: "lifetime", Usage: "[seconds]", Help: "returns or sets the idle lifetime of the session",
		Line: Arity{0, 1}, RESP: Arity{0, 1}, Needs: OpenSession, Access: Write, AccessOf: lifetimeAccess, Cost: 1,
		Run: runLifetime,
	},
	{
		Name: "stat", Help: "describes the session: created, last_used, expires (Unix seconds), version, keys, bytes",
		Line: Exactly(0), RESP: Exactly(0), Needs: OpenSession, Access: Read, Cost: 1, Run: runStat,
	},
}

func newMode([][]byte) session.Mode { return session.ReadWrite }

// openMode returns the mode that open requests. runOpen reports an unknown one.
func openMode(args [][]byte) session.Mode {
	mode := session.ReadWrite
	if len(args) >= 2 {
		mode, _ = session.ParseMode(args[1])
	}
	return mode
}

// modeAccess is for commands that write only in an exclusive mode. Opening with a shared lock creates no session, and
// closing it saves nothing.
func modeAccess(_ [][]byte, mode session.Mode) Access {
	if mode.Exclusive() {
		return Write
	}
	return Read
}

func lifetimeAccess(args [][]byte, _ session.Mode) Access {
	if len(args) > 0 {
		return Write
	}
	return Read
}

// tenant returns the caller's tenant with its current rules.
func (c *Call) tenant() *session.Tenant { return &c.conn.caller.access.rules.sessions }

func runNew(c *Call) (err error) {
	lifetime := time.Duration(0)
	if len(c.Args) == 1 {
		if lifetime, err = seconds(c.Args[0]); err != nil {
			return err
		}
		if lifetime == 0 {
			return wire.Errorf(wire.BadArg, "invalid lifetime 0 (allowed: 1 second or more)")
		}
	}
	if err := c.takeSessionCreation(); err != nil {
		return err
	}
	id, s, err := c.conn.server.opts.Sessions.New(c.Context(), c.tenant(), lifetime)
	if err != nil {
		return err
	}
	c.conn.session = s
	c.Reply.Text(id)
	return nil
}

func runOpen(c *Call) (err error) {
	t := c.tenant()
	opts := session.OpenOptions{Wait: t.Settings.LockWait, OnWait: c.conn.waitForLock}
	if len(c.Args) >= 2 {
		if opts.Mode, err = session.ParseMode(c.Args[1]); err != nil {
			return err
		}
	}
	if len(c.Args) == 3 {
		ms, err := number(c.Args[2], int64(session.WaitMax/time.Millisecond))
		if err != nil {
			return err
		}
		opts.Wait = time.Duration(ms) * time.Millisecond
	}
	s, err := c.conn.server.opts.Sessions.Open(c.Context(), t, c.Args[0], opts)
	if errors.Is(err, session.ErrNotFound) {
		if limited := c.takeSessionCreation(); limited != nil {
			return limited // limits attempts to guess ids
		}
	}
	if err != nil {
		return err
	}
	if err := c.conn.caller.renew(); err != nil { // the credentials were revoked during the wait
		_ = s.Abort() // the session has no changes
		return err
	}
	if s.Unsaved() {
		if err := c.takeSessionCreation(); err != nil {
			_ = s.Abort() // the session has no changes
			return err
		}
	}
	c.conn.session = s
	c.conn.account.moved += s.Bytes()
	if !c.conn.countMemory(spare) {
		c.conn.session = nil
		_ = s.Abort() // the session has no changes
		return errMemoryLimit
	}
	c.Reply.OK()
	return nil
}

func runClose(c *Call) error {
	created := c.Session().Unsaved()
	err := c.Session().Close(c.Context())
	c.created(created)
	return c.done(err)
}

// created records that the command saved the session for the first time. before is whether the session was unsaved
// before the command.
func (c *Call) created(before bool) {
	if s := c.Session(); before && !s.Unsaved() {
		c.fact = fact{code: audit.SessionCreated, session: s.ID()}
	}
}

func runCommit(c *Call) error {
	created := c.Session().Unsaved()
	err := c.Session().Commit(c.Context())
	c.created(created)
	return c.done(err)
}

func runAbort(c *Call) error {
	return c.done(c.Session().Abort())
}

func runDestroy(c *Call) error {
	err := c.Session().Destroy(c.Context())
	c.fact = fact{code: audit.SessionDestroyed, session: c.Session().ID()}
	return c.done(err)
}

// done replies ok unless err is an error.
func (c *Call) done(err error) error {
	if err == nil {
		c.Reply.OK()
	}
	return err
}

func runRegenerate(c *Call) error {
	grace := time.Duration(0)
	if len(c.Args) == 1 {
		var err error
		if grace, err = seconds(c.Args[0]); err != nil {
			return err
		}
	}
	if err := c.takeSessionCreation(); err != nil {
		return err
	}
	before := c.Session().ID()
	id, err := c.Session().Regenerate(c.Context(), grace)
	if err != nil {
		return err
	}
	now := c.Session().ID()
	c.fact = fact{code: audit.SessionRegenerated, session: before, detail: "new id " + hex.EncodeToString(now[:])}
	c.Reply.Text(id)
	return nil
}

func runLifetime(c *Call) error {
	if len(c.Args) == 1 {
		d, err := seconds(c.Args[0])
		if err != nil {
			return err
		}
		return c.done(c.Session().SetLifetime(d))
	}
	d, err := c.Session().Lifetime()
	if err != nil {
		return err
	}
	c.Reply.Int(int64(d / time.Second))
	return nil
}

func runStat(c *Call) error {
	st, err := c.Session().Stat()
	if err != nil {
		return err
	}
	c.Reply.Record([]wire.Field{
		{Name: "created", Value: st.Created.Unix()},
		{Name: "last_used", Value: st.LastUsed.Unix()},
		{Name: "expires", Value: st.Expires.Unix()},
		{Name: "version", Value: int64(st.Version)},
		{Name: "keys", Value: int64(st.Keys)},
		{Name: "bytes", Value: int64(st.Bytes)},
	})
	return nil
}

// seconds parses a whole number of seconds.
func seconds(arg []byte) (time.Duration, error) {
	n, err := number(arg, int64(session.LifetimeMax/time.Second))
	return time.Duration(n) * time.Second, err
}

// number parses a whole number from 0 to limit.
func number(arg []byte, limit int64) (int64, error) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, wire.Errorf(wire.BadArg, "invalid number %.*q (allowed: whole numbers from 0 to %d)", 20, arg, limit)
	}
	return n, nil
}
