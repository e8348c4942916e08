package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy/opa"
)

// PolicyReport describes valid policies.
type PolicyReport struct {
	Text   string
	Owners []string // tenants with a policy of their own
}

// checkPolicies reads the policies from where the server would, compiles them and runs their tests.
func CheckPolicies(ctx context.Context, cfg *configs.Config) (PolicyReport, configs.Problems) {
	key := "policy"
	switch {
	case cfg.Policy.Folder != "":
		key = "policy.folder"
	case cfg.Policy.Bundle.Used():
		key = "policy.bundle.url"
	}
	source, err := PolicySource(cfg.Policy)
	if b := cfg.Policy.Bundle; err == nil && b.Used() && checkBundleFiles(b, func(string, error) {}) > 0 {
		return PolicyReport{}, nil // reported by Examine
	}
	var r opa.Report
	if err == nil {
		r, err = opa.Check(ctx, source)
	}
	if err != nil {
		return PolicyReport{}, configs.Problems{cfg.Problem(key, "%s", strings.TrimPrefix(err.Error(), "policy: "))}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "policies: %s, revision %s, tests passed: %d\n", source, r.Revision, Passed(r.Tests))
	for _, line := range r.Caching {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return PolicyReport{Text: b.String(), Owners: r.Tenants}, nil
}

func Passed(tests []opa.Test) (n int) {
	for _, t := range tests {
		if t.Passed {
			n++
		}
	}
	return n
}

// policyNotes returns notes on policies of tenants that do not exist.
func PolicyNotes(cfg *configs.Config, ts *configs.Tenants, owners []string) []string {
	var notes []string
	for _, owner := range owners {
		isAnonymous := cfg.Tenants == "" && slices.ContainsFunc(cfg.Listen, func(l configs.Listen) bool {
			id, err := auth.ParseIdentity(l.Anonymous)
			return err == nil && id.Tenant == owner
		})
		if ts.Tenant(owner) == nil && !isAnonymous {
			notes = append(notes, fmt.Sprintf("there are policies in tenants/%s, and no tenant %s: they decide "+
				"nothing", owner, owner))
		}
	}
	return notes
}
