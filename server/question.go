package server

import (
	"crypto/x509"
	"fmt"
	"strings"

	"sessionserver/policy"
	"sessionserver/session"
)

// Question returns the policy input of a command without a client, as far as the command table determines it. mode is
// that of the open session, or the one that open asks for; "" is rw. access is for commands that have more than one. key
// is nil for a question that is not about a key. It is an error if the policy is never asked such a question.
func Question(command, mode, access string, key []byte) (policy.Input, error) {
	t := builtin()
	row := t.lookup([]byte(command))
	switch {
	case row == nil:
		return policy.Input{}, fmt.Errorf("there is no command %.40q (allowed: %s)", command, strings.Join(t.asked(), ", "))
	case row.Needs == Nothing:
		return policy.Input{}, fmt.Errorf("no policy is asked about %s, which is about the connection (allowed: %s)", row.Name, strings.Join(t.asked(), ", "))
	case key != nil && row.Keys == NoKeys:
		return policy.Input{}, fmt.Errorf("no policy is asked about %s with a key (allowed: without one)", row.Name)
	case key == nil && row.Keys != NoKeys && row.Keys != SessionKeys:
		return policy.Input{}, fmt.Errorf("%s is asked about once for each key: add --key KEY", row.Name)
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
			return policy.Input{}, fmt.Errorf("%s has access %s or %s, not %.20q", row.Name, in.Access, row.Access, access)
		}
		in.Access = policy.Access(row.Access - None)
	}
	return in, nil
}

// asked are the names of the commands that policies are asked about.
func (t *table) asked() []string {
	var names []string
	for _, row := range t.rows {
		if row.Needs != Nothing {
			names = append(names, row.Name)
		}
	}
	return names
}

// CertificateFacts are what policies may know of a client's certificate.
func CertificateFacts(cert *x509.Certificate) *policy.Certificate { return certificateFacts(cert) }
