package server

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"sessionserver/audit"
	"sessionserver/policy"
	"sessionserver/wire"
)

// decideKey asks the policy about the command and a key. The empty key is a key too; nil would ask about the command
// without a key, which is easier to pass.
func (c *Call) decideKey(key []byte) error {
	if key == nil {
		key = []byte{}
	}
	return c.decide(key)
}

// describe sets the command's part of the connection's question.
func (c *Call) describe() {
	q, s := &c.conn.caller.question, c.conn.session
	q.Command, q.Access, q.Mode, q.Session = c.Command.Name, policy.Access(c.access()-None), "", policy.Session{}
	switch {
	case s != nil:
		q.Mode = s.Mode().String()
		age := c.conn.account.clock().Sub(s.Created())
		q.Session = policy.Session{Open: true, New: s.Unsaved(), Age: int64(age / time.Second),
			Bytes: s.Bytes(), Keys: s.Keys()}
	case c.Command.Mode != nil:
		q.Mode = c.Command.Mode(c.Args).String()
	}
}

// decide asks the policy about the command and a key, which may be nil. A command without a decision is refused too,
// but not with DENIED, since a retry may be allowed.
func (c *Call) decide(key []byte) error {
	c.conn.caller.question.Key = key
	d, err := c.conn.server.opts.Policy.Decide(c.Context(), &c.conn.caller.question)
	c.conn.caller.question.Key = nil
	switch {
	case err != nil:
		c.conn.server.notices.undecided(c.conn, c.Command.Name, err)
		reason := "failed"
		if errors.Is(err, policy.ErrTimeout) {
			reason = "timeout"
		}
		return &refusal{
			reply: undecidedReply, gate: gatePolicy, cause: err, event: audit.OperationUndecided, reason: reason,
		}
	case d.Allow:
		return nil
	case len(d.Reasons) > 0:
		reasons := strings.Join(d.Reasons, "; ")
		return denied(reasons, reasons+about(key))
	}
	return denied("", "the policy does not allow this app to "+c.Command.Name+about(key))
}

// undecidedReply is the reply to a command about which the policy made no decision.
var undecidedReply = wire.Errorf(wire.Unavailable,
	"the policy made no decision, and nothing was done: try again; the operator's log has the cause")

// denied returns the refusal by a policy. The message is for the client and may name a key; the detail is for the audit
// log and may not.
func denied(detail, message string) *refusal {
	return &refusal{
		reply: wire.Errorf(wire.Denied, "%s", message), gate: gatePolicy,
		event: audit.OperationDenied, reason: byPolicy, detail: detail,
	}
}

// about returns the denied key, for the client only.
func about(key []byte) string {
	if key == nil {
		return ""
	}
	return fmt.Sprintf(" (key %.80q)", key)
}

// allowed reports whether the policy allows the command to access a key. A decision that exceeded its time limit is
// an error. Treating it as a denial would hide keys at random. A client that then writes back the visible keys would
// remove the hidden ones.
func (c *Call) allowed(key []byte) (bool, error) {
	err := c.decideKey(key)
	if errors.Is(err, policy.ErrTimeout) {
		return false, err
	}
	return err == nil, nil
}

// certificateFacts returns the facts of a client certificate that policies see.
func certificateFacts(cert *x509.Certificate) *policy.Certificate {
	if cert == nil {
		return nil
	}
	sum := sha256.Sum256(cert.Raw)
	facts := &policy.Certificate{
		Subject: cert.Subject.String(), DNSNames: cert.DNSNames, SHA256: hex.EncodeToString(sum[:]),
		NotAfter: cert.NotAfter,
	}
	for _, uri := range cert.URIs {
		facts.URIs = append(facts.URIs, uri.String())
	}
	return facts
}
