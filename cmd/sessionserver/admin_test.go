package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

// TestAdminRefused checks that a server whose HTTP for operators would be open to others does not start.
func TestAdminRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "short"), []byte("too-short-a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		"admin: {address: \":0\"}":                                   "every client could read there",
		"admin: {address: \":0\", token_file: /t}":                   "traffic without TLS can be read",
		"admin: {address: \"127.0.0.1:0\", token_file: DIR/short}":   "a token of 17 characters",
		"admin: {address: \"127.0.0.1:0\", token_file: DIR/nothing}": "no such file",
	} {
		file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n"+strings.ReplaceAll(settings, "DIR",
			dir)+"\n")
		for _, args := range [][]string{{"check", file}, {"serve", "--config", file}} {
			_, stderr, status := newCLI(t, "").Run("", args...)
			if status == 0 || !strings.Contains(stderr, want) || strings.Contains(stderr, "too-short") {
				t.Errorf("%s: %s: %d:\n%s", settings, args[0], status, stderr)
			}
		}
	}
}
