package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// only fails the test unless the folder has just this file.
func only(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder has %v, %v; want %s only", entries, err, filepath.Base(path))
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, text := range []string{"first", "second", ""} {
		if err := ReplacePath(path, []byte(text), Options{}); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != text {
			t.Errorf("content = %q, want %q", got, text)
		}
		only(t, path)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
	if err := ReplacePath(path, nil, Mode(0o644)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode = %v, %v; want 0644", info.Mode(), err)
	}
}

// TestReplaceRefused checks that when any step fails the old file stays, and nothing else is left.
func TestReplaceRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := ReplacePath(path, []byte("old"), Options{}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for name, opts := range map[string]Options{
		"owner": {Own: func(*os.File) error { return refused }},
		"check": {Check: func() error { return refused }},
	} {
		if err := ReplacePath(path, []byte("new"), opts); !errors.Is(err, refused) {
			t.Errorf("%s: error = %v, want %v", name, err, refused)
		}
		if got := content(t, path); got != "old" {
			t.Errorf("%s: content = %q, want the old one", name, got)
		}
		only(t, path)
	}
	if err := ReplacePath(filepath.Join(path, "below"), nil, Options{}); err == nil {
		t.Error("ReplacePath below a file: no error")
	}
}

// TestFolderSyncFails checks that the error is returned. The new file is in its place whole, and no temporary file is
// left.
func TestFolderSyncFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	failed := errors.New("input/output error")
	syncFolder := func(*os.Root) error { return failed }
	if err := replace(folder, filepath.Base(path), []byte("new"), Options{}, syncFolder); !errors.Is(err, failed) {
		t.Errorf("error = %v, want %v", err, failed)
	}
	if got := content(t, path); got != "new" {
		t.Errorf("content = %q, want the new one", got)
	}
	only(t, path)
}

// TestReplaceKeepsMode checks that an Own that copies the old file's mode keeps it, and the default is the owner alone.
func TestReplaceKeepsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := ReplacePath(path, []byte("old"), Mode(0o640)); err != nil {
		t.Fatal(err)
	}
	keep := Options{Own: func(f *os.File) error {
		old, err := os.Stat(path)
		if err != nil {
			return err
		}
		return f.Chmod(old.Mode().Perm())
	}}
	for _, row := range []struct {
		opts Options
		want os.FileMode
	}{{keep, 0o640}, {Options{}, 0o600}} {
		if err := ReplacePath(path, []byte("new"), row.opts); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != row.want {
			t.Errorf("mode = %v, %v; want %v", info.Mode(), err, row.want)
		}
	}
}

// TestReplaceLink checks that a link is replaced itself, and its target is not written.
func TestReplaceLink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("target"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := ReplacePath(path, []byte("new"), Options{}); err != nil {
		t.Fatal(err)
	}
	if content(t, path) != "new" || content(t, target) != "target" {
		t.Errorf("the file has %q, the target of the link %q", content(t, path), content(t, target))
	}
}

// TestReplaceMovedFolder checks that the open folder is written to, not another one that has its path now.
func TestReplaceMovedFolder(t *testing.T) {
	parent := t.TempDir()
	old, moved := filepath.Join(parent, "folder"), filepath.Join(parent, "moved")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(old)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := errors.Join(os.Rename(old, moved), os.Mkdir(old, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := Replace(root, "file", []byte("new"), Options{}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(moved, "file")); got != "new" {
		t.Errorf("content = %q, want it in the folder that was opened", got)
	}
}
