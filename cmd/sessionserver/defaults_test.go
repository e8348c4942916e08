package main

import (
	"testing"

	"sessionserver/configs"
	"sessionserver/session"
	"sessionserver/wire"
)

// TestDefaults: what a configuration leaves out is what the packages take by themselves, so that the documentation has one truth.
func TestDefaults(t *testing.T) {
	cfg := configs.Default()
	if got, want := *sessionSettings(cfg.Session), session.DefaultSettings(); got != want {
		t.Errorf("rules for sessions: the configuration has %+v, package session %+v", got, want)
	}
	if got, want := wireLimits(cfg.Limits), wire.DefaultLimits(); got != want {
		t.Errorf("limits: the configuration has %+v, package wire %+v", got, want)
	}
	if need := 2*cfg.Session.MaxKeys + 1; cfg.Limits.Args < need {
		t.Errorf("%d arguments are too few to put all of %d keys", cfg.Limits.Args, cfg.Session.MaxKeys)
	}
}
