package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
)

type policyCmd struct {
	Default policyDefaultCmd `cmd:"" help:"Print the default policy: a default.rego to begin with."`
	Test    policyTestCmd    `cmd:"" help:"Compile policies and run their tests."`
	Eval    policyEvalCmd    `cmd:"" help:"Decide about one operation and explain how, with the trace of the rules."`
}

type policyDefaultCmd struct{}

// Run prints the file.
func (policyDefaultCmd) Run(io streams) error {
	text, err := fs.ReadFile(configs.DefaultPolicy(), "default.rego")
	if err != nil {
		return err
	}
	_, err = io.out.Write(text)
	return err
}

type policyTestCmd struct {
	Folder string `arg:"" optional:"" help:"The folder of the policies, those of tenants in tenants/NAME (default: the policy that ships with the server)."`
}

// Run shows each test with its time and what it prints.
func (c *policyTestCmd) Run(ctx context.Context, io streams) error {
	source, err := app.PolicySource(configs.Policy{Folder: c.Folder})
	if err != nil {
		return err
	}
	r, err := opa.Check(ctx, source)
	for _, t := range r.Tests {
		result := "FAIL"
		switch {
		case t.Passed:
			result = "ok"
		case t.Skipped:
			result = "skip"
		}
		if c.Folder == "" {
			t.File = strings.TrimPrefix(t.File, "/") // it is embedded, without a path
		}
		fmt.Fprintf(io.out, "%-4s  %s:%d  %s  %v\n", result, t.File, t.Line, t.Name, t.Duration.Round(time.Microsecond))
		for line := range strings.Lines(t.Output) {
			fmt.Fprintf(io.out, "      %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	if err != nil {
		return err
	}
	if len(r.Tests) == 0 {
		fmt.Fprintf(io.err, "%s compiles, and has no tests: rules test_* in files *_test.rego are some.\n", source)
		return nil
	}
	_, err = fmt.Fprintf(io.out, "%s: tests passed: %d\n", source, app.Passed(r.Tests))
	return err
}

type policyEvalCmd struct {
	Tenant  string `required:"" placeholder:"NAME" help:"The tenant that asks."`
	App     string `required:"" placeholder:"NAME" help:"Its app."`
	Command string `required:"" placeholder:"NAME" help:"The command that it sends."`

	Key         *string `help:"The key that the question is about."`
	Mode        string  `help:"The mode of the open session, or the one that open asks for: rw, u, r, s (default rw)."`
	Access      string  `help:"Access of lifetime: read or write. The access of other commands is fixed."`
	Address     string  `default:"127.0.0.1" help:"Where the client comes from; \"\" is a Unix socket."`
	Listener    string  `placeholder:"NAME" help:"The listener that it came to (default: the first one)."`
	TLS         string  `name:"tls" placeholder:"VERSION" help:"The version of TLS, 1.2 or 1.3 (default: plaintext)."`
	Certificate string  `placeholder:"FILE" help:"The client's certificate, a PEM file; it is taken as verified."`

	New   bool          `help:"The open session was never saved."`
	Age   time.Duration `placeholder:"TIME" help:"Age of the open session."`
	Bytes configs.Size  `placeholder:"SIZE" help:"How much it holds."`
	Keys  int           `help:"How many keys it holds."`

	Config string `xor:"folder" placeholder:"FILE" help:"The configuration of the server: its policies, its tenants."`
	Dev    bool   `xor:"folder" help:"The policies and tenants of serve --dev."`
	State  string `placeholder:"DIR" help:"With --dev: its folder (default .sessionserver)."`
	Folder string `placeholder:"DIR" help:"The policies of this folder instead. Without --config the app may read and write every key."`
	Role   string `help:"The role of the app, without --config (default readwrite)."`
}

// Run prints the decision, the question, and the result of each policy. A denial is a success. So are failing tests
// of the policies, since the command helps to find their cause.
func (c *policyEvalCmd) Run(ctx context.Context, io streams) error {
	cfg, tenants, err := c.known()
	if err != nil {
		return err
	}
	in, err := c.input(cfg, tenants)
	if err != nil {
		return err
	}
	if c.Folder != "" {
		cfg.Policy.Folder, cfg.Policy.Bundle = c.Folder, configs.Bundle{}
	}
	cfg.Policy.Bundle.Keep = "" // it belongs to the server
	source, err := app.PolicySource(cfg.Policy)
	if err != nil {
		return err
	}
	engine, tests, err := opa.Draft(ctx, opa.Options{Source: source, Tenants: tenants, Timeout: cfg.Policy.Timeout})
	if engine == nil {
		return err
	}
	if err != nil {
		failed := slices.DeleteFunc(tests, func(t opa.Test) bool { return t.Passed || t.Skipped })
		counted := ""
		if len(failed) > 0 { // none if tests do not compile
			counted = fmt.Sprintf(" (tests that fail: %d)", len(failed))
		}
		fmt.Fprintf(io.err, "note: the server would not take these policies%s:\n    %s\n", counted,
			strings.ReplaceAll(err.Error(), "\n", "\n    "))
	}
	d, text, err := engine.Explain(ctx, in)
	verdict := "denied: " + orElse(strings.Join(d.Reasons, "; "), "no rule gives a reason")
	switch {
	case err != nil:
		verdict = "refused: the policies made no decision"
	case d.Allow:
		verdict = "allowed"
	}
	if _, err := fmt.Fprintf(io.out, "%s\n\n%s", verdict, text); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verdict, err)
	}
	return nil
}

// known returns the configuration and the tenants that the flags name.
func (c *policyEvalCmd) known() (*configs.Config, []policy.Tenant, error) {
	role := auth.Role(orElse(c.Role, string(auth.ReadWrite)))
	switch {
	case c.Config == "" && !c.Dev && c.Folder == "":
		return nil, nil, errors.New("sessionserver policy eval: no source of policies: give --config FILE, --dev or " +
			"--folder DIR")
	case c.State != "" && !c.Dev:
		return nil, nil, errors.New("sessionserver policy eval: --state needs --dev; a configuration file names its " +
			"folders itself")
	case c.Role != "" && (c.Config != "" || c.Dev):
		return nil, nil, errors.New("sessionserver policy eval: --role needs --folder; otherwise the role is in the " +
			"tenant's file")
	case !slices.Contains(auth.Roles, role):
		return nil, nil, fmt.Errorf("--role: %.40q (allowed: %s)", c.Role, configs.RoleNames())
	}
	if c.Config == "" && !c.Dev {
		cfg := configs.Default()
		return &cfg, []policy.Tenant{{Name: c.Tenant, Apps: []policy.App{{Name: c.App, Role: string(role)}}}}, nil
	}
	cfg, err := configs.Load(c.Config, app.Inspect)
	if c.Dev {
		cfg, err = devConfig(c.State)
	}
	if err != nil {
		return nil, nil, err
	}
	if cfg.Tenants == "" {
		return cfg, tenants.ForPolicy(tenants.Anonymous(cfg), nil), nil
	}
	folder := tenants.Folder{Path: cfg.Tenants, Config: cfg}
	if _, err := folder.Tenant(c.Tenant); err != nil { // reports mistakes in its file
		return nil, nil, err
	}
	files := tenants.Load(cfg).All
	return cfg, tenants.ForPolicy(tenants.ForServer(files), files), nil
}

// input returns the question that the flags describe.
func (c *policyEvalCmd) input(cfg *configs.Config, tenants []policy.Tenant) (*policy.Input, error) {
	i := slices.IndexFunc(tenants, func(t policy.Tenant) bool { return t.Name == c.Tenant })
	if i < 0 {
		return nil, fmt.Errorf("--tenant: unknown tenant %.80q", c.Tenant)
	}
	j := slices.IndexFunc(tenants[i].Apps, func(a policy.App) bool { return a.Name == c.App })
	if j < 0 {
		var names []string
		for _, a := range tenants[i].Apps {
			names = append(names, a.Name)
		}
		return nil, fmt.Errorf("--app: tenant %s has no app %.80q (it has: %s)", c.Tenant, c.App,
			orNone(strings.Join(names, ", ")))
	}
	var key []byte // nil is a question without a key, unlike one about the empty key
	if c.Key != nil {
		key = append([]byte{}, *c.Key...)
	}
	in, err := server.Question(c.Command, c.Mode, c.Access, key)
	if err != nil {
		return nil, err
	}
	in.Tenant, in.App, in.Role, in.Listener = c.Tenant, c.App, tenants[i].Apps[j].Role, orElse(c.Listener,
		cfg.Listen[0].Name)
	if c.Address != "" {
		if in.Address, err = netip.ParseAddr(c.Address); err != nil {
			return nil, fmt.Errorf("--address: %.80q is not an address (allowed: such as 192.0.2.1 or 2001:db8::1)",
				c.Address)
		}
	}
	if in.TLS = c.TLS; c.Certificate != "" {
		text, err := app.ReadShort(c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("--certificate: %w", err)
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, fmt.Errorf("--certificate: %s is not a PEM file", c.Certificate)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--certificate: %s: %w", c.Certificate, err)
		}
		in.TLS, in.Certificate = orElse(in.TLS, "1.3"), server.CertificateFacts(cert)
	}
	if in.TLS != "" && in.TLS != "1.2" && in.TLS != "1.3" {
		return nil, fmt.Errorf("--tls: %.20q (allowed: 1.2, 1.3)", in.TLS)
	}
	if c.Age < 0 || c.Bytes < 0 || c.Keys < 0 {
		return nil, errors.New("--age, --bytes and --keys cannot be negative")
	}
	if !in.Session.Open && (c.New || c.Age != 0 || c.Bytes != 0 || c.Keys != 0) {
		return nil, fmt.Errorf("no session is open for %s: --new, --age, --bytes and --keys have no effect", in.Command)
	}
	if in.Session.Open {
		in.Session = policy.Session{Open: true, New: c.New, Age: int64(c.Age / time.Second), Bytes: int(c.Bytes),
			Keys: c.Keys}
	}
	return &in, nil
}
