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

// decideKey asks the policy about the command and a key. The empty key is a key too: the question without one is another
// question, and easier to pass.
func (c *Call) decideKey(key []byte) error {
	if key == nil {
		key = []byte{}
	}
	return c.decide(key)
}

// describe says in the connection's question what the command is and what it is about.
func (c *Call) describe() {
	q, s := &c.conn.caller.question, c.conn.session
	q.Command, q.Access, q.Mode, q.Session = c.Command.Name, policy.Access(c.access()-None), "", policy.Session{}
	switch {
	case s != nil:
		q.Mode = s.Mode().String()
		q.Session = policy.Session{Open: true, New: s.Unsaved(), Age: int64(time.Since(s.Created()) / time.Second), Bytes: s.Bytes(), Keys: s.Keys()}
	case c.Command.Mode != nil:
		q.Mode = c.Command.Mode(c.Args).String()
	}
}

// decide asks the policy about the command and a key; nil is none. Without a decision the command is refused too, but
// not as denied: the same command may be allowed the next time.
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

// undecidedReply is for what the policy came to no decision about.
var undecidedReply = wire.Errorf(wire.Unavailable,
	"the policy came to no decision, and nothing was done: try again; the operator's log says why")

// denied returns the refusal by a policy. The message is for the client and may name a key; the detail is for the audit
// log and may not.
func denied(detail, message string) *refusal {
	return &refusal{
		reply: wire.Errorf(wire.Denied, "%s", message), gate: gatePolicy,
		event: audit.OperationDenied, reason: byPolicy, detail: detail,
	}
}

// about tells the client, and nobody else, which of its keys was denied.
func about(key []byte) string {
	if key == nil {
		return ""
	}
	return fmt.Sprintf(" (key %.80q)", key)
}

// allowed reports whether the policy lets the command touch a key. That there was no decision in time is an error: who took that for a no would show
// less today than tomorrow, and a client that then puts back what it has seen would remove the rest.
func (c *Call) allowed(key []byte) (bool, error) {
	err := c.decideKey(key)
	if errors.Is(err, policy.ErrTimeout) {
		return false, err
	}
	return err == nil, nil
}

// certificateFacts are what policies may know of a client's certificate.
func certificateFacts(cert *x509.Certificate) *policy.Certificate {
	if cert == nil {
		return nil
	}
	sum := sha256.Sum256(cert.Raw)
	facts := &policy.Certificate{
		Subject: cert.Subject.String(), DNSNames: cert.DNSNames, SHA256: hex.EncodeToString(sum[:]), NotAfter: cert.NotAfter,
	}
	for _, uri := range cert.URIs {
		facts.URIs = append(facts.URIs, uri.String())
	}
	return facts
}
