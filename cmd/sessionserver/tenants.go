package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy/opa"
	"sessionserver/server"
)

// tenants keeps a server to what the files of its tenants say, and to what they say next.
type tenants struct {
	log     *slog.Logger
	folder  string                                                  // "" for none
	apply   applyTenants                                            // makes these all tenants that there are
	drop    func(ctx context.Context, tenant string) (int64, error) // removes the sessions of a tenant
	certify func(hosts []string) error                              // says for which names there are to be certificates; may be nil
	audit   *auditing
	looked  func(problems int, err error) // gets the outcome of each look at the files: their problems are an error too

	debounce, poll, retry time.Duration // see watch and dropAll; tests have less patience

	mu     sync.Mutex // guards what follows; held while files are read and applied
	cfg    *configs.Config
	tell   bool             // the next look logs what has been wrong for long
	now    *configs.Tenants // what apply was last given
	status tenantsStatus

	served *served       // what is in force, for commands; nil without a folder, or one that is not writable
	drops  chan struct{} // something may be to be dropped
}

// applyTenants takes tenants as the server does, with the files that they come from if there are any: these tell policies more.
type applyTenants func(tenants []server.Tenant, files []*configs.Tenant) error

// tenantsStatus is how the last look at the files went.
type tenantsStatus struct {
	Tenants  int
	Problems configs.Problems
}

// trouble is what is wrong with the files: all that is, if it is little.
func (s tenantsStatus) trouble() error {
	switch n := len(s.Problems); n {
	case 0:
		return nil
	case 1:
		return s.Problems[0]
	default:
		return fmt.Errorf("%d problems with the files, which the log lists", n)
	}
}

func newTenants(cfg *configs.Config, log *slog.Logger, apply applyTenants, drop func(context.Context, string) (int64, error)) *tenants {
	return &tenants{
		log: log, folder: cfg.Tenants, apply: apply, drop: drop, audit: &auditing{}, cfg: cfg, drops: make(chan struct{}, 1), looked: func(int, error) {},
		debounce: 100 * time.Millisecond, poll: 500 * time.Millisecond, retry: time.Minute,
	}
}

// state tells how the last look at the files went.
func (t *tenants) state() tenantsStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// loaded are the tenants as their files were last applied.
func (t *tenants) loaded() *configs.Tenants {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		return new(configs.Tenants)
	}
	return t.now
}

// load reads the files for the first time. A tenant with whose file something is wrong is not served, which the log tells; it is an error only
// if there are no files at all.
func (t *tenants) load() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.folder != "" {
		if _, err := os.ReadDir(t.folder); err != nil {
			return fmt.Errorf("cannot read the tenants: %w", err)
		}
	}
	if t.folder != "" {
		var err error
		t.served, err = openServed(t.folder)
		if err != nil && !errors.Is(err, syscall.EROFS) { // where commands can change nothing either
			t.log.Warn("commands such as app create cannot wait for this server: it may not write into the folder",
				"folder", t.folder, "err", err)
		}
	}
	t.tell = true
	return t.look()
}

// publish has commands know what is in force. It is called with t.mu locked.
func (t *tenants) publish(ts *configs.Tenants) {
	if t.served == nil {
		return
	}
	if err := t.served.publish(ts); err != nil {
		t.log.Warn("commands such as app create cannot see what this server has in force", "folder", t.folder, "err", err)
	}
}

// close ends what load began.
func (t *tenants) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.served != nil {
		t.served.close()
		t.served = nil
	}
	return nil
}

// configure has the next look take what the files leave open from another configuration, nil for the same, and log
// again what is wrong. The folder and the listeners stay those of the start.
func (t *tenants) configure(cfg *configs.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell = true
	if cfg != nil {
		next := *cfg
		next.Tenants, next.Listen = t.folder, t.cfg.Listen
		t.cfg = &next
	}
}

// again looks at the files once more.
func (t *tenants) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.look() // it was told to looked
}

// look reads the files and applies what has changed in them. It is called with t.mu locked.
func (t *tenants) look() (err error) {
	tell := t.tell
	t.tell = false
	defer func() {
		outcome := err
		if err == nil {
			outcome = t.status.trouble()
		}
		t.looked(len(t.status.Problems), outcome)
	}()
	if t.folder == "" {
		implicit := anonymousTenants(t.cfg)
		err := t.apply(implicit, nil)
		t.status = tenantsStatus{Tenants: len(implicit)}
		return err
	}
	next := configs.LoadTenants(t.folder, t.cfg, t.now, inspectTenant)
	if t.now != nil && !tell && next.Same(t.now) {
		t.status.Problems = slices.Concat(next.Problems, together(t.cfg, next)) // not those of a look that failed
		t.publish(next)
		return nil
	}
	problems := slices.Concat(next.Problems, together(t.cfg, next))
	for _, p := range problems {
		if tell || !slices.Contains(t.status.Problems, p) {
			t.log.Error("something is wrong with the tenants", "problem", p.Error())
		}
	}
	t.audit.tenantsFailed(t.status.Problems, problems)
	all := serverTenants(next.All)
	if err := t.apply(all, next.All); err != nil {
		t.status.Problems = problems
		return fmt.Errorf("the tenants are as they were: %w", err)
	}
	if t.certify != nil {
		if err := t.certify(hosts(next)); err != nil {
			t.log.Error("some hosts of tenants can have no certificate", "err", err)
		}
	}
	t.report(next, len(problems) == 0)
	if t.now != nil { // the start tells how many there are
		t.audit.tenantsChanged(t.now, next)
	}
	t.now = next
	t.publish(next)
	t.status = tenantsStatus{Tenants: len(all), Problems: problems}
	if len(next.Drops) > 0 {
		select {
		case t.drops <- struct{}{}:
		default: // it is known already
		}
	}
	return nil
}

// hosts are the names for which tenants want certificates.
func hosts(ts *configs.Tenants) []string {
	var all []string
	for _, t := range ts.All {
		all = append(all, t.Hosts...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// report logs what next changes.
func (t *tenants) report(next *configs.Tenants, right bool) {
	var added, changed, removed []string
	for _, tenant := range next.All {
		var before *configs.Tenant
		if t.now != nil {
			before = t.now.Tenant(tenant.Name)
		}
		switch {
		case before == nil:
			added = append(added, tenant.Name)
		case !alike(before, tenant):
			changed = append(changed, tenant.Name)
		}
	}
	if t.now == nil {
		t.log.Info("tenants", "count", len(next.All))
	} else {
		for _, tenant := range t.now.All {
			if next.Tenant(tenant.Name) == nil {
				removed = append(removed, tenant.Name)
			}
		}
		if len(added)+len(changed)+len(removed) > 0 {
			t.log.Info("the tenants have changed", "added", shorten(added), "changed", shorten(changed), "removed", shorten(removed))
		}
	}
	stale, missing := next.Stale()
	if len(stale)+len(missing) > 0 {
		t.log.Error("some tenants are not as their files say", "as_before", shorten(stale), "not_served", shorten(missing))
	} else if right && len(t.status.Problems) > 0 {
		t.log.Info("nothing is wrong with the tenants any more")
	}
}

// alike reports whether two readings of a tenant's file, perhaps beside different configurations, make the same tenant.
func alike(a, b *configs.Tenant) bool {
	return a == b || slices.Equal(a.Hosts, b.Hosts) && reflect.DeepEqual(a.Policy, b.Policy) && reflect.DeepEqual(serverTenant(a), serverTenant(b))
}

// shorten keeps a line of the log readable.
func shorten(names []string) string {
	const most = 20
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), more)
	}
	return strings.Join(names, " ")
}

// watch applies what changes in the files until ctx ends. The system tells of changes; after the last one it waits for debounce, for an editor
// may be in the middle of them, but not for long. What the system does not tell of, as on network file systems or behind links, is found by looking at
// the files' times each poll, which with very many files is longer: looking takes a twentieth of the time at most.
func (t *tenants) watch(ctx context.Context) {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { t.dropAll(ctx) })
	if t.folder == "" {
		<-ctx.Done()
		return
	}
	w := &folderWatch{path: t.folder}
	defer w.close()
	w.renew(t.log)
	var first time.Time // when a change was noticed that was not looked at yet
	due := time.NewTimer(0)
	defer due.Stop()
	poll := time.NewTimer(t.poll)
	defer poll.Stop()
	noticed := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(t.debounce, max(time.Until(first.Add(4*t.debounce)), 0)))
	}
	seen := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events():
			if !strings.HasPrefix(filepath.Base(e.Name), servedPrefix) { // its own
				noticed()
			}
		case <-w.errors(): // such as that there were too many changes to tell of them
			noticed()
		case <-poll.C:
			began := time.Now()
			w.renew(t.log)
			if fingerprint(t.folder) != seen {
				noticed()
			}
			poll.Reset(max(t.poll, 20*time.Since(began)))
		case <-due.C:
			first = time.Time{}
			seen = fingerprint(t.folder)
			t.again()
		}
	}
}

// folderWatch is told by the system what changes in a folder, for as long as it is the same folder.
type folderWatch struct {
	path    string
	info    fs.FileInfo // of the folder that is watched
	watcher *fsnotify.Watcher
	failed  bool // it was logged that there is none
}

// renew watches the folder if it is not watched, or is another one than before.
func (w *folderWatch) renew(log *slog.Logger) {
	info, err := os.Stat(w.path)
	if err == nil && w.info != nil && os.SameFile(info, w.info) {
		return
	}
	w.close()
	if err == nil {
		w.watcher, err = fsnotify.NewWatcher()
	}
	if err == nil {
		if err = w.watcher.Add(w.path); err != nil {
			w.close()
		}
	}
	if err != nil {
		if !w.failed {
			log.Warn("the system does not tell of changes to the tenants; the files are looked at twice a second", "folder", w.path, "err", err)
		}
		w.failed = true
		return
	}
	w.info, w.failed = info, false
}

func (w *folderWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
	w.watcher, w.info = nil, nil
}

func (w *folderWatch) events() chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *folderWatch) errors() chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

// fingerprint changes with the files of a folder, as far as the system tells without reading them.
func fingerprint(folder string) string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		name := e.Name()
		ext := strings.ToLower(filepath.Ext(name))
		if strings.HasPrefix(name, ".") || ext != configs.TenantExt && ext != configs.DropExt && ext != ".yml" { // the last is a problem as long as it is there
			continue
		}
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			fmt.Fprintln(&b, name, err)
			continue
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), info.Mode(), inode(info))
	}
	return b.String()
}

// dropAll removes the sessions of deleted tenants whenever there are any, until ctx ends. The mark in the folder goes away last, so that what was
// not finished is done after the next start.
func (t *tenants) dropAll(ctx context.Context) {
	if t.drop == nil {
		return
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.drops:
		case <-again.C:
		}
		t.mu.Lock()
		var names []string
		if t.now != nil {
			for _, name := range t.now.Drops {
				if auth.ValidName(name) && t.now.Tenant(name) == nil && !t.hasFile(name) {
					names = append(names, name)
				}
			}
		}
		t.mu.Unlock()
		for _, name := range names {
			if err := t.dropOne(ctx, name); err != nil && ctx.Err() == nil {
				t.log.Error("the sessions of a deleted tenant were not dropped; it is tried again", "tenant", name, "err", err)
				again.Reset(t.retry)
			}
		}
	}
}

// hasFile reports whether the folder has a file of that tenant, right or wrong.
func (t *tenants) hasFile(name string) bool {
	_, err := os.Lstat(filepath.Join(t.folder, name+configs.TenantExt))
	return !errors.Is(err, fs.ErrNotExist)
}

func (t *tenants) dropOne(ctx context.Context, name string) error {
	mark := filepath.Join(t.folder, name+configs.DropExt)
	if _, err := os.Lstat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil // it was done before
	}
	t.log.Info("dropping the sessions of a deleted tenant", "tenant", name)
	dropped, err := t.drop(ctx, name)
	if err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.log.Info("dropped the sessions of a deleted tenant", "tenant", name, "sessions", dropped)
	return nil
}

// inspectTenant answers everything that is wrong with the file of a tenant beyond what package configs can know.
func inspectTenant(t *configs.Tenant) configs.Problems {
	var problems configs.Problems
	add := func(key, format string, args ...any) { problems = append(problems, t.Problem(key, format, args...)) }
	for _, name := range t.AppNames() {
		key, app := configs.AppKey(name), t.Apps[name]
		for setting, patterns := range map[string][]string{"read": app.Read, "write": app.Write} {
			for i, pattern := range patterns {
				if err := opa.CheckPattern(pattern); err != nil {
					add(fmt.Sprintf("%s.%s[%d]", key, setting, i), "%s", strings.TrimPrefix(err.Error(), "policy: "))
				}
			}
		}
	}
	return problems
}

// together answers what is wrong with tenants that no file alone can tell: it harms nobody but those whom it is about.
func together(cfg *configs.Config, ts *configs.Tenants) configs.Problems {
	var problems configs.Problems
	type claim struct {
		tenant   *configs.Tenant
		app, key string
	}
	claims := make(map[auth.CertificateName][]claim)
	var names []auth.CertificateName
	for _, t := range ts.All {
		for _, app := range t.AppNames() {
			for i, text := range t.Apps[app].Certificates {
				name, err := auth.ParseCertificateName(text)
				if err != nil {
					continue // it was told
				}
				if claims[name] == nil {
					names = append(names, name)
				}
				claims[name] = append(claims[name], claim{t, app, fmt.Sprintf("%s.certificates[%d]", configs.AppKey(app), i)})
			}
		}
	}
	for _, name := range names {
		all := claims[name]
		for _, c := range all {
			i := slices.IndexFunc(all, func(o claim) bool { return o.tenant != c.tenant || o.app != c.app })
			if i >= 0 {
				problems = append(problems, c.tenant.Problem(c.key, "%s is claimed by %s/%s too, and lets neither in", name, all[i].tenant.Name, all[i].app))
			}
		}
	}
	for i, l := range cfg.Listen {
		id, found := l.Identity()
		if !found {
			continue
		}
		t := ts.Tenant(id.Tenant)
		if t == nil {
			problems = append(problems, cfg.Problem(fmt.Sprintf("listen[%d].anonymous", i), "there is no tenant %s in %s: nobody is let in as %s", id.Tenant, cfg.Tenants, id))
		} else if _, found := t.Apps[id.App]; !found {
			problems = append(problems, cfg.Problem(fmt.Sprintf("listen[%d].anonymous", i), "tenant %s has no app %s: nobody is let in as %s", id.Tenant, id.App, id))
		}
	}
	for _, name := range ts.Drops {
		path := filepath.Join(cfg.Tenants, name+configs.DropExt)
		if !auth.ValidName(name) {
			problems = append(problems, configs.Problem{File: path, Text: "it marks nothing that can be the name of a tenant"})
		} else if _, err := os.Lstat(filepath.Join(cfg.Tenants, name+configs.TenantExt)); err == nil {
			problems = append(problems, configs.Problem{File: path, Text: fmt.Sprintf("the sessions of tenant %s are to be dropped, and it is there again: remove one of the files", name)})
		}
	}
	return problems
}

// serverTenants are the tenants of files with which nothing is wrong.
func serverTenants(files []*configs.Tenant) []server.Tenant {
	all := make([]server.Tenant, len(files))
	for i, f := range files {
		all[i] = serverTenant(f)
	}
	return all
}

// serverTenant is a tenant as the server takes it.
func serverTenant(t *configs.Tenant) server.Tenant {
	return server.Tenant{
		Tenant: t.Auth(), Sessions: t.SessionSettings(), MaxConns: t.Quotas.Connections, MaxMemory: int64(t.Quotas.Memory),
		Rates: serverRates(t.Rates),
	}
}

func serverRates(r configs.Rates) server.Rates {
	return server.Rates{
		Tenant: bucket(r.Tenant), App: bucket(r.App), Address: bucket(r.Address), SessionCreation: bucket(r.SessionCreation),
		TenantBytes: byteBucket(r.TenantBytes), AppBytes: byteBucket(r.AppBytes),
		OnLimit: server.OnLimit(r.OnLimit),
	}
}

// anonymousTenants are those that listeners name without credentials, where there is no folder of tenants: everybody whom the listener admits may
// come, and all else is as in the configuration.
func anonymousTenants(cfg *configs.Config) []server.Tenant {
	var all []server.Tenant
	for _, l := range cfg.Listen {
		id, found := l.Identity()
		if !found {
			continue
		}
		i := slices.IndexFunc(all, func(t server.Tenant) bool { return t.Name == id.Tenant })
		if i < 0 {
			i = len(all)
			all = append(all, serverTenant(&configs.Tenant{Name: id.Tenant, Session: cfg.Session, Quotas: cfg.Quotas, Rates: cfg.Rates.Rates}))
			all[i].Access.Allow = configs.Prefixes(configs.Everywhere())
		}
		if !slices.ContainsFunc(all[i].Apps, func(a auth.App) bool { return a.Name == id.App }) {
			all[i].Apps = append(all[i].Apps, auth.App{Name: id.App, Role: auth.ReadWrite})
		}
	}
	return all
}
