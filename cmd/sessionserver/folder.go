package main

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

	"sessionserver/auth"
	"sessionserver/configs"
)

// place says where the tenants are: the flags that the subcommands about them have.
type place struct {
	Config string `xor:"place" required:"" placeholder:"FILE" help:"The configuration of the server, which names the folder of the tenants."`
	Dev    bool   `xor:"place" required:"" help:"The tenants of serve --dev."`
	State  string `placeholder:"DIR" help:"With --dev: its folder (default .sessionserver)."`
}

// open finds the folder by a configuration in which nothing may be wrong.
func (p place) open() (*tenantFolder, error) { return p.find(nil) }

// openAnyhow finds it also if something is wrong with the configuration, as long as it says where the folder is: to take something away must not wait
// until all is right, and a server that runs goes on with what it has read before. It tells what is wrong.
func (p place) openAnyhow(io streams) (*tenantFolder, error) {
	return p.find(func(problems configs.Problems) {
		fmt.Fprintf(io.err, "Something is wrong with the configuration, which does not hinder this:\n%v\n", problems)
	})
}

func (p place) find(tell func(configs.Problems)) (*tenantFolder, error) {
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
	cfg, problems, err := configs.LoadAnyhow(p.Config, inspect)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		if tell == nil || cfg.Tenants == "" {
			return nil, problems
		}
		tell(problems)
	}
	if cfg.Tenants == "" {
		return nil, fmt.Errorf("%s names no folder for tenants; add a line such as\n\n    tenants: /etc/sessionserver/tenants.d", p.Config)
	}
	return &tenantFolder{path: cfg.Tenants, cfg: cfg}, nil
}

// tenantFolder is the folder of the tenants' files as commands change it. A server that runs sees what changes by itself.
type tenantFolder struct {
	path     string
	cfg      *configs.Config
	dev      bool
	patience time.Duration // of await; 0 is servedPatience
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
		return nil, f.noTenant(name)
	}
	return t, err
}

func (f *tenantFolder) noTenant(name string) error {
	return fmt.Errorf("there is no tenant %s in %s (tenant create makes one, tenant list shows all)", name, f.path)
}

// lockedFolder is the folder while no other command changes it. All is done to the folder that was opened, by names in it and never by paths, and
// without following links: the folder is the service's, the commands are often root's, and what is looked at can be another file a moment later.
type lockedFolder struct {
	*tenantFolder
	root *os.Root
	self *os.File // the folder itself, which bears the lock
}

// lock keeps other commands out of the folder until close: each would write over what another has just written.
func (f *tenantFolder) lock(ctx context.Context) (_ *lockedFolder, err error) {
	root, err := os.OpenRoot(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no folder %s yet: tenant create makes it", f.path)
	}
	if err != nil {
		return nil, err
	}
	l := &lockedFolder{tenantFolder: f, root: root}
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
			err = fmt.Errorf("another command has been changing the tenants for %v: the folder %s is locked", patience, f.path)
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

// kept is the file of a tenant as it was read.
type kept struct {
	text []byte
	info fs.FileInfo
}

// errChanged means that a file was changed by somebody else while a command did so.
var errChanged = errors.New("it was changed by somebody else meanwhile, and is as it was left")

// read reads the file of a tenant, which must be a file of this folder and no other.
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
		return nil, fmt.Errorf("%s is a link, and nothing is changed through links: change what it leads to where that is kept, or put the file itself here", l.file(tenant))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", l.file(tenant))
	case links(info) > 1:
		return nil, fmt.Errorf("%s is the same file as another one (a hard link), which would not change with it: put a copy in its place", l.file(tenant))
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k := &kept{}
	if k.info, err = f.Stat(); err == nil && (!os.SameFile(info, k.info) || links(k.info) > 1) {
		return nil, fmt.Errorf("%s: %w", l.file(tenant), errChanged)
	}
	if err == nil {
		k.text, err = io.ReadAll(io.LimitReader(f, configs.SizeMax+1)) // more is refused when it is parsed
	}
	return k, err
}

// parse reads the text of a tenant, in which nothing may be wrong.
func (f *tenantFolder) parse(tenant string, text []byte) (*configs.Tenant, error) {
	return configs.ParseTenant(f.file(tenant), text, f.cfg, inspectTenant)
}

// change edits the file of a tenant. What comes out must be right. If somebody else changes the file meanwhile, edit is asked again about what it says
// then: an editor knows of no lock.
func (f *tenantFolder) change(ctx context.Context, tenant string, edit func(text []byte) ([]byte, error)) error {
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
		if !errors.Is(err, errChanged) {
			break
		}
	}
	return err
}

// write makes text the file of a tenant. A file that was there keeps its owner and mode; a new one, without old, belongs to whom the folder belongs,
// for the server must be able to read it.
func (l *lockedFolder) write(tenant string, text []byte, old *kept) error {
	if _, err := l.parse(tenant, text); err != nil {
		return fmt.Errorf("this would be wrong, and nothing was changed:\n%w", err)
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
			err = nil // whoever is not root may make files of his own
		}
		return errors.Join(err, f.Chmod(0o640))
	}
	still := func() error {
		if old == nil {
			return l.isNew(tenant)
		}
		now, err := l.read(tenant)
		if err == nil && (!os.SameFile(now.info, old.info) || now.info.Mode() != old.info.Mode() || !bytes.Equal(now.text, old.text)) {
			err = fmt.Errorf("%s: %w", l.file(tenant), errChanged)
		}
		return err
	}
	return replaceFile(l.root, tenant+configs.TenantExt, text, own, still)
}

// isNew refuses a tenant that is there, or is not quite gone.
func (l *lockedFolder) isNew(tenant string) error {
	if _, err := l.root.Lstat(tenant + configs.TenantExt); err == nil {
		return fmt.Errorf("there is a tenant %s already: %s", tenant, l.file(tenant))
	}
	if _, err := l.root.Lstat(tenant + configs.DropExt); err == nil {
		return fmt.Errorf("the sessions of the tenant %s that was deleted are still to be dropped: wait until a running server has removed %s, or remove it to keep them",
			tenant, l.mark(tenant))
	}
	return nil
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

// remove takes the file of a tenant away, right or wrong. With drop it stays as a mark by which a running server drops the sessions.
func (f *tenantFolder) remove(ctx context.Context, name string, drop bool) error {
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
	return syncFolder(l.root)
}
