package tenants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sessionserver/atomicfile"
	"sessionserver/auth"
	"sessionserver/configs"
)

// Folder is the folder of the tenants' files for commands that change it. A running server follows it by itself.
type Folder struct {
	Path       string
	Config     *configs.Config // of the server
	MakeParent bool            // Create makes the folder of Path too, for its owner alone

	patience time.Duration // of Await; 0 is servedPatience
}

// File returns the path of the file of a tenant.
func (f *Folder) File(tenant string) string {
	return filepath.Join(f.Path, tenant+configs.TenantExt)
}

// Mark returns the path of the file that orders the removal of a tenant's sessions.
func (f *Folder) Mark(tenant string) string {
	return filepath.Join(f.Path, tenant+configs.DropExt)
}

// checkName returns an error for an invalid name, before it becomes the name of a file.
func checkName(what, name string) error {
	if !auth.ValidName(name) {
		return fmt.Errorf("%.80q cannot be the name of %s (allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit "+
			"first)", configs.Conceal(name), what)
	}
	return nil
}

// Tenant reads the file of a tenant, which must be valid.
func (f *Folder) Tenant(name string) (*configs.Tenant, error) {
	if err := checkName("a tenant", name); err != nil {
		return nil, err
	}
	t, err := configs.LoadTenant(f.File(name), f.Config, Inspect)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.noTenant(name)
	}
	return t, err
}

func (f *Folder) noTenant(name string) error {
	return fmt.Errorf("unknown tenant %s in %s (tenant create makes one, tenant list shows all)", name, f.Path)
}

// lockedFolder is the folder while no other command changes it. All operations use the opened folder and names in it,
// never paths, and follow no links: the service owns the folder, root often runs the commands, and a file can be
// another one a moment later.
type lockedFolder struct {
	*Folder
	root *os.Root
	self *os.File // the folder itself, which is locked
}

// lock excludes other commands until close, so that no command overwrites the change of another one.
func (f *Folder) lock(ctx context.Context) (_ *lockedFolder, err error) {
	root, err := os.OpenRoot(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("folder %s not found: tenant create creates it", f.Path)
	}
	if err != nil {
		return nil, err
	}
	l := &lockedFolder{Folder: f, root: root}
	if l.self, err = root.Open("."); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; {
		free, err := flock(l.self)
		if free {
			return l, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("another command has locked the folder %s for %v: wait for its end, or end it",
				f.Path, patience)
		}
		if err == nil {
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err != nil {
			l.close()
			return nil, err
		}
	}
}

func (l *lockedFolder) close() { _, _ = l.self.Close(), l.root.Close() }

// kept is the content and the info of a tenant's file when it was read.
type kept struct {
	text []byte
	info fs.FileInfo
}

// ErrChanged reports that a file was changed by another program while a command changed it.
var ErrChanged = errors.New("another program changed it meanwhile, and its change was kept: run the command again")

// read reads the file of a tenant, which must be a regular file of this folder.
func (l *lockedFolder) read(tenant string) (*kept, error) {
	name := tenant + configs.TenantExt
	info, err := l.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, l.noTenant(tenant)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a link, and nothing is changed through links: change what it leads to where "+
			"that is kept, or put the file itself here", l.File(tenant))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file: remove it, or set tenants to another folder", l.File(tenant))
	case links(info) > 1:
		return nil, fmt.Errorf("%s is the same file as another one (a hard link), which would not change with it: "+
			"put a copy in its place", l.File(tenant))
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k := &kept{}
	if k.info, err = f.Stat(); err == nil && (!os.SameFile(info, k.info) || links(k.info) > 1) {
		return nil, fmt.Errorf("%s: %w", l.File(tenant), ErrChanged)
	}
	if err == nil {
		k.text, err = io.ReadAll(io.LimitReader(f, configs.SizeMax+1)) // Parse refuses more
	}
	return k, err
}

// Parse reads the text of a tenant, which must be valid.
func (f *Folder) Parse(tenant string, text []byte) (*configs.Tenant, error) {
	return configs.ParseTenant(f.File(tenant), text, f.Config, Inspect)
}

// Change edits the file of a tenant. The result must be valid. Editors ignore the lock: if another program changes
// the file meanwhile, edit is called again with the new text.
func (f *Folder) Change(ctx context.Context, tenant string, edit func(text []byte) ([]byte, error)) error {
	if err := checkName("a tenant", tenant); err != nil {
		return err
	}
	l, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	for range 5 {
		var old *kept
		if old, err = l.read(tenant); err == nil {
			var text []byte
			if text, err = edit(old.text); err == nil {
				err = l.write(tenant, text, old)
			}
		}
		if !errors.Is(err, ErrChanged) {
			break
		}
	}
	return err
}

// write replaces the file of a tenant. An existing file keeps its owner and mode. A new one, without old, gets the
// owner of the folder, since the server must be able to read it.
func (l *lockedFolder) write(tenant string, text []byte, old *kept) error {
	if _, err := l.Parse(tenant, text); err != nil {
		return fmt.Errorf("the result would be invalid, and nothing was changed:\n%w", err)
	}
	own := func(f *os.File) error {
		if old != nil {
			return errors.Join(sameOwner(f, old.info), f.Chmod(old.info.Mode().Perm()))
		}
		folder, err := l.self.Stat()
		if err == nil {
			err = sameOwner(f, folder)
		}
		if errors.Is(err, fs.ErrPermission) {
			err = nil // a user other than root creates files of his own
		}
		return errors.Join(err, f.Chmod(0o640))
	}
	still := func() error {
		if old == nil {
			return l.isNew(tenant)
		}
		now, err := l.read(tenant)
		if err == nil && (!os.SameFile(now.info, old.info) || now.info.Mode() != old.info.Mode() ||
			!bytes.Equal(now.text, old.text)) {
			err = fmt.Errorf("%s: %w", l.File(tenant), ErrChanged)
		}
		return err
	}
	return atomicfile.Replace(l.root, tenant+configs.TenantExt, text, atomicfile.Options{Own: own, Check: still})
}

// isNew returns an error if the tenant exists, or its sessions are still being dropped.
func (l *lockedFolder) isNew(tenant string) error {
	if _, err := l.root.Lstat(tenant + configs.TenantExt); err == nil {
		return fmt.Errorf("tenant %s exists already: %s", tenant, l.File(tenant))
	}
	if _, err := l.root.Lstat(tenant + configs.DropExt); err == nil {
		return fmt.Errorf("the sessions of the tenant %s that was deleted are still to be dropped: wait until a "+
			"running server has removed %s, or remove it to keep them", tenant, l.Mark(tenant))
	}
	return nil
}

// Create creates the file of a tenant, and the folder if need be.
func (f *Folder) Create(ctx context.Context, name string, text []byte) error {
	if err := checkName("a tenant", name); err != nil {
		return err
	}
	if f.MakeParent {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return err
		}
	}
	if err := os.Mkdir(f.Path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	l, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.isNew(name); err != nil {
		return err
	}
	return l.write(name, text, nil)
}

// Remove removes the file of a tenant, valid or not. With drop the file becomes a mark by which a running server
// drops the sessions.
func (f *Folder) Remove(ctx context.Context, name string, drop bool) error {
	if err := checkName("a tenant", name); err != nil {
		return err
	}
	l, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	if drop {
		err = l.root.Rename(name+configs.TenantExt, name+configs.DropExt)
	} else {
		err = l.root.Remove(name + configs.TenantExt)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f.noTenant(name)
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncFolder(l.root)
}
