package app

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
)

// walkOpen calls do for a folder and everything in it that other users may use. Of symbolic links, only the folder
// itself is followed.
func walkOpen(folder string, do func(path string, mode fs.FileMode) error) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return filepath.WalkDir(folder+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) { // a server removes files while check looks
			return nil
		}
		if err != nil || info.Mode().Perm()&0o077 == 0 || !d.IsDir() && !info.Mode().IsRegular() {
			return err
		}
		return do(filepath.Clean(path), info.Mode())
	})
}

// makePrivate creates the storage folder, or closes it and everything in it to other users, whatever the umask. A
// file of another owner cannot be closed: this is logged, and the file is used all the same, since the folder may be
// a mount of a container.
func makePrivate(folder string, log *slog.Logger) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	changed := 0
	var failed error
	err := walkOpen(folder, func(path string, mode fs.FileMode) error {
		if err := os.Chmod(path, mode.Perm()&0o700); err != nil {
			failed = err
			return nil
		}
		changed++
		return nil
	})
	if changed > 0 {
		log.Warn("the storage was open to other users of this machine and is not any more", "folder", folder,
			"files_and_folders", changed)
	}
	if failed != nil {
		log.Error("the storage is open to other users of this machine: give it to the user that the server runs as",
			"folder", folder, "err", failed)
	}
	return err
}
