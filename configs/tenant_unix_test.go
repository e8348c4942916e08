//go:build unix

package configs

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFolderPipe checks that a named pipe in the folder is a problem, and does not block the load.
func TestFolderPipe(t *testing.T) {
	f := newFolder(t)
	path := filepath.Join(f.path, "a.yaml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f.look("", "a.yaml: cannot be read: not a regular file")
	if _, err := LoadTenant(path, f.main); err == nil || !strings.HasSuffix(err.Error(), "not a regular file") {
		t.Error(err)
	}
}
