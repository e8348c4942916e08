package atomicfile

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
)

// Options configure Replace. The zero value is valid: the new file is for its owner alone.
type Options struct {
	// Own sets the owner and the mode of the new file. It may be nil.
	Own func(*os.File) error

	// Check is called just before the old file is replaced, and may refuse. It may be nil.
	Check func() error
}

// Mode returns options for a file with this mode, whatever the umask.
func Mode(mode os.FileMode) Options {
	return Options{Own: func(f *os.File) error { return f.Chmod(mode) }}
}

// Replace makes content the file of that name in the folder. Once it has returned nil, the new file survives a power
// failure. After an error the file is either the old one or, if only the folder could not be synced, the new one.
func Replace(folder *os.Root, name string, content []byte, opts Options) error {
	return replace(folder, name, content, opts, SyncFolder)
}

func replace(folder *os.Root, name string, content []byte, opts Options, syncFolder func(*os.Root) error) error {
	temp := "." + name + "." + rand.Text() + ".tmp"
	f, err := folder.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && opts.Own != nil {
		err = opts.Own(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && opts.Check != nil {
		err = opts.Check()
	}
	if err == nil {
		err = folder.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, folder.Remove(temp))
	}
	return syncFolder(folder)
}

// ReplacePath is Replace for the file at a path.
func ReplacePath(path string, content []byte, opts Options) error {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(Replace(folder, filepath.Base(path), content, opts), folder.Close())
}

// SyncFolder makes the names in a folder survive a power failure.
func SyncFolder(folder *os.Root) error {
	self, err := folder.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(self.Sync(), self.Close())
}
