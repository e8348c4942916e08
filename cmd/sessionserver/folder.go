package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
)

// place says where the tenants are: the flags that the subcommands about them have.
type place struct {
	Config string `xor:"place" required:"" placeholder:"FILE" help:"The configuration of the server, which names the folder of the tenants."`
	Dev    bool   `xor:"place" required:"" help:"The tenants of serve --dev."`
	State  string `placeholder:"DIR" help:"With --dev: its folder (default .sessionserver)."`
}

// open finds the folder.
func (p place) open() (*tenantFolder, error) {
	if p.Dev {
		cfg, err := devConfig(p.State)
		if err != nil {
			return nil, err
		}
		return &tenantFolder{path: cfg.Tenants, cfg: cfg, dev: true}, nil
	}
	if p.State != "" {
		return nil, errors.New("sessionserver: --state goes with --dev; a configuration file says it itself")
	}
	cfg, err := configs.Load(p.Config, inspect)
	if err != nil {
		return nil, err
	}
	if cfg.Tenants == "" {
		return nil, fmt.Errorf("%s names no folder for tenants; add a line such as\n\n    tenants: /etc/sessionserver/tenants.d", p.Config)
	}
	return &tenantFolder{path: cfg.Tenants, cfg: cfg}, nil
}

// tenantFolder is the folder of the tenants' files as commands change it. A server that runs sees what changes by itself.
type tenantFolder struct {
	path string
	cfg  *configs.Config
	dev  bool
}

func (f *tenantFolder) file(tenant string) string {
	return filepath.Join(f.path, tenant+configs.TenantExt)
}

func (f *tenantFolder) mark(tenant string) string {
	return filepath.Join(f.path, tenant+configs.DropExt)
}

// checkName refuses what cannot be the name of a tenant before it becomes one of a file.
func checkName(what, name string) error {
	if !auth.ValidName(name) {
		return fmt.Errorf("%.80q cannot be the name of %s (allowed: 1 to 64 of a-z, 0-9, - and _, a letter or digit first)", configs.Conceal(name), what)
	}
	return nil
}

// tenant reads the file of a tenant, in which nothing may be wrong.
func (f *tenantFolder) tenant(name string) (*configs.Tenant, error) {
	if err := checkName("a tenant", name); err != nil {
		return nil, err
	}
	t, err := configs.LoadTenant(f.file(name), f.cfg, inspectTenant)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no tenant %s in %s (tenant create makes one, tenant list shows all)", name, f.path)
	}
	return t, err
}

// lock keeps other commands out of the folder until unlock: each would write over what another has just written.
func (f *tenantFolder) lock(ctx context.Context) (unlock func(), err error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no folder %s yet: tenant create makes it", f.path)
	}
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(f.path, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	_ = sameOwner(file, info) // so that root does not lock out those whose folder it is
	unlock = func() { _ = file.Close() }
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; {
		free, err := flock(file)
		if free {
			return unlock, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("another command has been changing the tenants for %v: %s is locked", patience, file.Name())
		}
		if err == nil {
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err != nil {
			unlock()
			return nil, err
		}
	}
}

// change edits the file of a tenant. What comes out must be as good as what was there.
func (f *tenantFolder) change(ctx context.Context, name string, edit func(t *configs.Tenant, text []byte) ([]byte, error)) error {
	if err := checkName("a tenant", name); err != nil {
		return err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	t, err := f.tenant(name)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.file(name))
	if err != nil {
		return err
	}
	if text, err = edit(t, text); err != nil {
		return err
	}
	return f.write(name, text)
}

// write makes text the file of a tenant so that a crash leaves the old or the new, and a server that reads meanwhile does so too. A file that was
// there keeps its owner and mode; a new one belongs to whom the folder belongs, for the server must be able to read it.
func (f *tenantFolder) write(name string, text []byte) error {
	path := f.file(name)
	if _, err := configs.ParseTenant(path, text, f.cfg, inspectTenant); err != nil {
		return fmt.Errorf("this would be wrong, and nothing was changed:\n%w", err)
	}
	mode := fs.FileMode(0o640)
	like, err := os.Stat(path)
	if err == nil {
		mode = like.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil { // a link stays one
			return err
		}
	} else if like, err = os.Stat(f.path); err != nil {
		return err
	}
	folder := filepath.Dir(path)
	temp, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if err == nil {
		err = sameOwner(temp, like)
		if errors.Is(err, fs.ErrPermission) && like.IsDir() {
			err = nil // whoever is not root may make files of his own
		}
	}
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncFolder(folder)
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// create makes the file of a tenant, and the folder if need be.
func (f *tenantFolder) create(ctx context.Context, name string, text []byte) error {
	if err := checkName("a tenant", name); err != nil {
		return err
	}
	if f.dev {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
	}
	if err := os.Mkdir(f.path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(f.file(name)); err == nil {
		return fmt.Errorf("there is a tenant %s already: %s", name, f.file(name))
	}
	if _, err := os.Lstat(f.mark(name)); err == nil {
		return fmt.Errorf("the sessions of the tenant %s that was deleted are still to be dropped: wait until a running server has removed %s, or remove it to keep them",
			name, f.mark(name))
	}
	return f.write(name, text)
}

// remove takes the file of a tenant away, right or wrong. With drop it stays as a mark by which a running server drops the sessions.
func (f *tenantFolder) remove(ctx context.Context, name string, drop bool) error {
	if err := checkName("a tenant", name); err != nil {
		return err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if drop {
		err = os.Rename(f.file(name), f.mark(name))
	} else {
		err = os.Remove(f.file(name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no tenant %s in %s (tenant list shows all)", name, f.path)
	}
	if err != nil {
		return err
	}
	return syncFolder(f.path)
}
