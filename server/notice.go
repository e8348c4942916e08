package server

import (
	"context"
	"log/slog"

	"sessionserver/server/throttle"
	"sessionserver/wire"
)

// notices are the log lines that peers can cause at any rate. Each kind has a throttle, so that no peer can fill the
// log. This package logs no other line above the debug level.
type notices map[wire.Code]*throttle.Throttle

// Kinds of notices besides the codes of refusals. No client receives them.
const (
	undecided   wire.Code = "undecided"    // refusals because the policy made no decision
	storeFailed wire.Code = "store failed" // commands for which the storage failed
	badHeader   wire.Code = "bad header"   // connections of a load balancer without a PROXY header
	noAccept    wire.Code = "no accept"    // connections that the system failed to accept
)

func newNotices() notices {
	n := notices{}
	for _, kind := range []wire.Code{wire.Internal, undecided, storeFailed, badHeader, noAccept} {
		n[kind] = throttle.New()
	}
	for code, rule := range codeRules {
		if rule.logged {
			n[code] = throttle.New()
		}
	}
	return n
}

// log logs a line of this kind unless its rate is exceeded, and reports whether it did.
func (n notices) log(to *slog.Logger, level slog.Level, kind wire.Code, message string, attrs ...any) bool {
	skipped, ok := n[kind].Take()
	if ok {
		to.Log(context.Background(), level, message, append(attrs, throttle.Skipped, skipped)...)
	}
	return ok
}

// refused logs a refusal that concerns an operator. command is empty for a refusal outside a command.
func (n notices) refused(c *conn, command string, code wire.Code) {
	if !codeRules[code].logged {
		return
	}
	n.log(c.log, slog.LevelInfo, code, "refused", "code", code, "command", command, "listener", c.caller.listener.Name,
		"remote", c.caller.remote(), "identity", c.caller.info.Identity)
}

// undecided logs that the policy made no decision, which can happen for each key of a session.
func (n notices) undecided(c *conn, command string, err error) {
	n.log(c.log, slog.LevelError, undecided, "policy made no decision; command refused",
		"command", command, "identity", c.caller.info.Identity, "err", err)
}
