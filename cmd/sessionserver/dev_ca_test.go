package main

import (
	"os"
	"path/filepath"
	"testing"

	"sessionserver/server/servertest"
)

// TestDevCATaken checks that the copy of the certificate is not written into a folder of another user.
func TestDevCATaken(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	own := filepath.Join(dir, "own.pem")
	servertest.WriteFiles(t, dir, map[string]string{"own.pem": "a certificate"})
	taken := filepath.Dir(publicCA([]byte("a certificate")))
	if filepath.Dir(taken) != dir {
		t.Fatalf("the copy is made in %s", taken)
	}
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err != nil {
		t.Errorf("a private folder: %v", err)
	}
	if err := os.Chmod(taken, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err == nil {
		t.Error("a folder that all users may write is accepted")
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, taken); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err == nil {
		t.Error("a link is accepted")
	}
}
