package server

import (
	"crypto/x509"
	"fmt"
	"strings"

	"sessionserver/policy"
	"sessionserver/session"
)

// Question returns the policy input of a command without a client, as far as the command table determines it. mode is
// the mode of the open session, or the one that open requests; "" is rw. access is for commands with more than one.
// key is nil for a question without a key. A question that the server never asks is an error.
func Question(command, mode, access string, key []byte) (policy.Input, error) {
	t := builtin()
	row := t.lookup([]byte(command))
	switch {
	case row == nil:
		return policy.Input{}, fmt.Errorf("unknown command %.40q (allowed: %s)", command,
			strings.Join(t.policyCommands(), ", "))
	case row.Needs == Nothing:
		return policy.Input{}, fmt.Errorf("policies do not decide about %s, which concerns the connection "+
			"(allowed: %s)",
			row.Name, strings.Join(t.policyCommands(), ", "))
	case key != nil && row.Keys == NoKeys:
		return policy.Input{}, fmt.Errorf("policies decide about %s without a key", row.Name)
	case key == nil && row.Keys != NoKeys && row.Keys != SessionKeys:
		return policy.Input{}, fmt.Errorf("policies decide about %s once for each key: add --key KEY", row.Name)
	}
	in := policy.Input{Command: row.Name, Key: key}
	opened := session.ReadWrite
	if mode != "" {
		var err error
		if opened, err = session.ParseMode([]byte(mode)); err != nil {
			return policy.Input{}, err
		}
	}
	if row.Mode != nil {
		if only := row.Mode([][]byte{nil, []byte(opened.String())}); only != opened {
			return policy.Input{}, fmt.Errorf("%s is always %s", row.Name, only)
		}
	}
	if mode != "" || row.Needs == OpenSession || row.Mode != nil {
		in.Mode, in.Session.Open = opened.String(), row.Mode == nil
	}
	in.Access = policy.Access(row.access(nil, opened) - None)
	if access != "" && access != in.Access.String() {
		if row.AccessOf == nil || row.Mode != nil || row.Releases {
			return policy.Input{}, fmt.Errorf("%s has access %s here, not %.20q", row.Name, in.Access, access)
		}
		if access != row.Access.String() {
			return policy.Input{}, fmt.Errorf("%s has access %s or %s, not %.20q", row.Name, in.Access, row.Access,
				access)
		}
		in.Access = policy.Access(row.Access - None)
	}
	return in, nil
}

// policyCommands returns the names of the commands that policies decide about.
func (t *table) policyCommands() []string {
	var names []string
	for _, row := range t.rows {
		if row.Needs != Nothing {
			names = append(names, row.Name)
		}
	}
	return names
}

// CertificateFacts returns the facts of a client certificate that policies see.
func CertificateFacts(cert *x509.Certificate) *policy.Certificate { return certificateFacts(cert) }
