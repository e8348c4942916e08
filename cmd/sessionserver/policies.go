package main

import (
	"context"
	"log/slog"

	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
)

// policySource is where the policies come from that cfg names, or those that ship with the server.
func policySource(cfg configs.Policy) opa.Source {
	if cfg.Folder == "" {
		return opa.FS("default", configs.DefaultPolicy())
	}
	return opa.Folder(cfg.Folder)
}

// openPolicy opens the engine that decides about every operation. It knows no tenant yet.
func openPolicy(ctx context.Context, cfg configs.Policy, log *slog.Logger, observer policy.Observer, decisions policy.DecisionLog) (*opa.Engine, error) {
	return opa.New(ctx, opa.Options{Source: policySource(cfg), Timeout: cfg.Timeout, Cache: cfg.Cache, Logger: log, Observer: observer, Log: decisions})
}

// policyTenants is what policies may know of tenants.
func policyTenants(tenants []server.Tenant) []policy.Tenant {
	out := make([]policy.Tenant, len(tenants))
	for i, t := range tenants {
		out[i] = policy.Tenant{Name: t.Name, Apps: make([]policy.App, len(t.Apps))}
		for j, a := range t.Apps {
			out[i].Apps[j] = policy.App{Name: a.Name, Role: string(a.Role), Read: a.Read, Write: a.Write}
		}
	}
	return out
}
