package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
)

type checkCmd struct {
	File string `arg:"" help:"The configuration file."`
}

// notes are what is not wrong with a configuration by itself, and still unlikely to be meant.
func notes(cfg *configs.Config) []string {
	var notes []string
	for _, l := range cfg.Listen {
		if l.Anonymous == "" && cfg.Tenants == "" {
			notes = append(notes, fmt.Sprintf("listener %s has no anonymous identity, and there is no folder of tenants: nobody can use sessions there", l.Name))
		}
		if l.ClientCA != "" && cfg.Tenants == "" {
			notes = append(notes, fmt.Sprintf("listener %s asks for client certificates, and there is no folder of tenants: nobody is known by one", l.Name))
		}
	}
	if a := cfg.Audit; isLogFile(a.Output) && a.Output == a.Decisions.Output {
		notes = append(notes, fmt.Sprintf("the decision log shares the file of the audit log, %s: decisions, which any app can cause, push the audit log's events out of the files that are kept", a.Output))
	}
	if cfg.Policy.Bundle.Plain() {
		notes = append(notes, "policies come by plain http: whoever is on the way reads the token and can keep newer policies from coming; use https")
	}
	if note := shareDescriptors(allowedDescriptors(), cfg).note(cfg); note != "" {
		notes = append(notes, note)
	}
	return notes
}

// tenantNotes are the notes on tenants.
func tenantNotes(cfg *configs.Config, ts *configs.Tenants) []string {
	var notes []string
	anonymous := make(map[auth.Identity]bool)
	for _, l := range cfg.Listen {
		id, _ := auth.ParseIdentity(l.Anonymous)
		anonymous[id] = true
	}
	if len(ts.All) == 0 {
		notes = append(notes, fmt.Sprintf("%s holds no tenant: nobody can use sessions", cfg.Tenants))
	}
	for _, t := range ts.All {
		for _, name := range t.AppNames() {
			id := auth.Identity{Tenant: t.Name, App: name}
			if a := t.Apps[name]; len(a.Secrets)+len(a.Certificates) == 0 && !anonymous[id] {
				notes = append(notes, fmt.Sprintf("app %s has neither a secret nor a certificate: nobody can be it", id))
			}
		}
		uncovered := slices.DeleteFunc(slices.Clone(t.Hosts), func(host string) bool { return certified(cfg, ts, host) })
		if len(uncovered) > 0 {
			notes = append(notes, fmt.Sprintf("tenant %s names hosts that no certificate is for: %s. Set "+
				"tls.acme.on_demand to have them obtained, or list one in tls.certificates",
				t.Name, few(uncovered)))
		}
	}
	return notes
}

// Run says everything that is wrong with the file, those of the tenants, and those that it names, or that nothing is. It changes nothing.
func (c *checkCmd) Run(ctx context.Context, io streams) error {
	cfg, err := configs.Load(c.File, inspect)
	if err != nil {
		return err
	}
	var problems configs.Problems
	ts := new(configs.Tenants)
	if cfg.Tenants != "" {
		if ts = configs.LoadTenants(cfg.Tenants, cfg, nil, inspectTenant); missing(cfg.Tenants) {
			ts.Problems = configs.Problems{cfg.Problem("tenants", "the folder %s is not there: make it, or the first tenant with it: sessionserver tenant create", cfg.Tenants)}
		}
		problems = append(ts.Problems, together(cfg, ts)...)
	}
	found := examine(cfg, ts, time.Now())
	problems = append(found.problems, problems...)
	if cfg.Tenants != "" {
		if len(problems) == 0 {
			fmt.Fprintf(io.out, "%s: tenants in %s: %d\n", c.File, cfg.Tenants, len(ts.All))
		}
	}
	report, wrong := checkPolicies(ctx, cfg)
	if problems = append(problems, wrong...); len(problems) > 0 {
		return problems
	}
	fmt.Fprintf(io.out, "%s: %s", c.File, report.text)
	for _, note := range append(found.notes, policyNotes(cfg, ts, report.owners)...) {
		fmt.Fprintf(io.out, "%s: note: %s\n", c.File, note)
	}
	_, err = fmt.Fprintf(io.out, "%s: nothing is wrong with it\n", c.File)
	return err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

type referenceCmd struct{}

// Run prints the configuration file that shows every setting with its default.
func (referenceCmd) Run(io streams) error {
	_, err := io.out.Write(configs.Reference)
	return err
}
