package tenants

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sessionserver/configs"
)

// servedPrefix begins the names of the files in which servers publish what they have in force. The folder of the
// tenants has one for each running server, which holds a lock on it. A file without a lock was left by a server that
// was killed.
const servedPrefix = ".served-"

// servedTemp ends the name of such a file before it is locked.
const servedTemp = ".new"

// served is the file of one server.
type served struct {
	folder, name string
	file         *os.File
	last         []byte
}

// openServed creates the file, locked before it gets its name, and removes those of killed servers.
func openServed(folder string) (_ *served, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), servedPrefix) || isFresh(e) {
			continue
		}
		if text, err := readServed(root, e.Name()); err == nil && text == nil {
			_ = root.Remove(e.Name()) // unless another server did
		}
	}
	s := &served{folder: folder, name: servedPrefix + rand.Text()}
	temp := s.name + servedTemp
	if s.file, err = root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, err
	}
	free, err := flock(s.file)
	if err == nil && !free {
		err = errors.New("the file is locked already")
	}
	if err == nil {
		err = s.file.Chmod(0o644) // for commands, whatever the umask
	}
	if err == nil {
		err = root.Rename(temp, s.name)
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close(), root.Remove(temp))
	}
	return s, nil
}

// isFresh reports whether another server may be about to lock the file.
func isFresh(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && strings.HasSuffix(e.Name(), servedTemp) && time.Since(info.ModTime()) < time.Minute
}

// publish writes which files are in force.
func (s *served) publish(ts *configs.Tenants) error {
	text, err := json.Marshal(ts.Digests())
	if err != nil || bytes.Equal(text, s.last) {
		return err
	}
	if _, err = s.file.WriteAt(text, 0); err == nil {
		err = s.file.Truncate(int64(len(text)))
	}
	if err == nil {
		s.last = text
	}
	return err
}

func (s *served) close() {
	_ = os.Remove(filepath.Join(s.folder, s.name))
	_ = s.file.Close()
}

// readServed returns what a server published, nil if no server has the file locked.
func readServed(folder *os.Root, name string) ([]byte, error) {
	f, err := folder.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if free, err := flockShared(f); free || err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// servedPatience limits the time that a command waits for running servers. They read a change after a tenth of a
// second.
const servedPatience = 10 * time.Second

// Await waits until all servers that run with the folder have the present file of a tenant in force, and returns their
// number. From then on a new DSN is accepted, and a revoked one refused. The change is made in any case; an error means
// that a server has not taken it over.
func (f *Folder) Await(ctx context.Context, tenant string) (servers int, err error) {
	patience := f.patience
	if patience == 0 {
		patience = servedPatience
	}
	for deadline := time.Now().Add(patience); ; {
		servers, behind, err := f.behind(tenant)
		switch {
		case err != nil:
			return 0, fmt.Errorf("the change is made, but it is unknown whether a server has taken it over: %w",
				err)
		case behind == 0:
			return servers, nil
		case time.Now().After(deadline):
			return servers, fmt.Errorf("the change is made, but after %v a running server has not taken it over. "+
				"Its log and /status have the reason; until then the previous tenants stay in force",
				patience)
		}
		select {
		case <-ctx.Done():
			return servers, fmt.Errorf("the change is made, and it was not waited until a running server has taken "+
				"it over: %w",
				ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// behind counts the servers that run with the folder, and those that do not have the present file of a tenant in
// force.
func (f *Folder) behind(tenant string) (servers, behind int, err error) {
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return 0, 0, err
	}
	defer root.Close()
	self, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	names, err := self.Readdirnames(-1)
	_ = self.Close()
	if err != nil {
		return 0, 0, err
	}
	var want string
	file := tenant + configs.TenantExt
	switch text, err := root.ReadFile(file); {
	case err == nil:
		sum := sha256.Sum256(text)
		want = hex.EncodeToString(sum[:])
	case !errors.Is(err, fs.ErrNotExist):
		return 0, 0, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, servedPrefix) || strings.HasSuffix(name, servedTemp) {
			continue
		}
		text, err := readServed(root, name)
		if err != nil {
			return 0, 0, err
		}
		if text == nil {
			continue
		}
		servers++
		var has map[string]string
		if json.Unmarshal(text, &has) != nil || has[file] != want { // it may be incomplete
			behind++
		}
	}
	return servers, behind, nil
}
