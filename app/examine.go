package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"sessionserver/app/tenants"
	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/server"
)

// Findings are the result of an examination: problems, and notes on settings that are unlikely to be meant.
type Findings struct {
	cfg      *configs.Config
	now      time.Time
	Problems configs.Problems
	Notes    []string
}

// Examine checks a valid configuration with the files, folders and tenants that it names, at a time, as the user that
// runs it. It changes nothing. Both check and serve use it, so that they report the same.
func Examine(cfg *configs.Config, ts *configs.Tenants, now time.Time) Findings {
	f := &Findings{cfg: cfg, now: now, Notes: notes(cfg)}
	if file := cfg.Problem("", "").File; exists(file) {
		f.trusted("", file)
	}
	f.certificates(ts)
	f.admin()
	f.policies()
	f.logs()
	f.storage()
	if cfg.Tenants != "" {
		f.tenants(ts)
		f.ids(tenants.ForServer(ts.All))
	} else {
		f.ids(tenants.Anonymous(cfg))
	}
	return *f
}

func (f *Findings) wrong(key, format string, args ...any) {
	p := f.cfg.Problem(key, format, args...)
	if !slices.Contains(f.Problems, p) { // a file may be named twice
		f.Problems = append(f.Problems, p)
	}
}

func (f *Findings) err(key string, err error) {
	if err != nil {
		f.wrong(key, "%s", strings.TrimPrefix(err.Error(), "certs: "))
	}
}

func (f *Findings) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.Notes, text) {
		f.Notes = append(f.Notes, text)
	}
}

// found adds what package certs reports.
func (f *Findings) found(key string, all []certs.Finding) {
	for _, x := range all {
		if x.Wrong {
			f.wrong(key, "%s", x.Text)
		} else {
			f.note("%s", x.Text)
		}
	}
}

// secret examines a file that only the server may read. Other users must not; its group is the operator's decision.
func (f *Findings) secret(key, path string) {
	if mode, ok := modeOf(path); ok && mode.Perm()&0o007 != 0 {
		f.wrong(key, "other users of this machine may read or write %s (mode %v): chmod o= %s", path, mode.Perm(), path)
	}
	f.replaceable(key, path)
}

// trusted examines a file or folder that decides what the server does: other users must neither write nor replace it.
func (f *Findings) trusted(key, path string) {
	if mode, ok := modeOf(path); ok && mode.Perm()&0o002 != 0 {
		f.wrong(key, "other users of this machine may write %s (mode %v): chmod o-w %s", path, mode.Perm(), path)
	}
	f.replaceable(key, path)
}

func (f *Findings) replaceable(key, path string) {
	folder := filepath.Dir(path)
	if mode, ok := modeOf(folder); ok && exists(path) && mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
		f.wrong(key, "other users of this machine may replace %s, since they may write its folder (mode %v): chmod "+
			"o-w %s", path, mode.Perm(), folder)
	}
}

// tree examines a folder and everything in it in the same way.
func (f *Findings) tree(key, folder string, one func(key, path string)) {
	one(key, folder)
	_ = filepath.WalkDir(folder+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSymlink == 0 && path != folder+string(filepath.Separator) {
			one(key, path)
		}
		return nil // hidden from this user, and so from others
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// modeOf returns the mode of a file. It reports false if there is no file, or the system has no such modes.
func modeOf(path string) (fs.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return 0, false
	}
	return info.Mode(), true
}

// folder examines a folder that the server uses or creates.
func (f *Findings) folder(key, path string) {
	note, err := usable(path)
	f.err(key, err)
	if note != "" {
		f.note("%s", note)
	}
}

// authorities examines a file of authorities.
func (f *Findings) authorities(key, file string) {
	if file == "" {
		return
	}
	f.err(key, certs.CheckCA(file))
	f.found(key, certs.ExamineCA(file, f.now))
	f.trusted(key, file)
}

// pair examines a certificate and its key.
func (f *Findings) pair(key string, pair certs.Pair) {
	f.err(key, pair.Check())
	f.found(key, pair.Examine(f.now))
	f.trusted(key, pair.Cert)
	f.secret(key, pair.Key)
}

func (f *Findings) certificates(ts *configs.Tenants) {
	t := f.cfg.TLS
	for i, pair := range t.Certificates {
		f.pair(fmt.Sprintf("tls.certificates[%d]", i), certs.Pair{Cert: pair.Cert, Key: pair.Key})
	}
	for i, l := range f.cfg.Listen {
		f.authorities(fmt.Sprintf("listen[%d].client_ca", i), l.ClientCA)
	}
	if t.LocalCA != "" {
		f.folder("tls.local_ca", t.LocalCA)
		f.found("tls.local_ca", certs.ExamineCA(certs.CAFile(t.LocalCA), f.now))
		f.tree("tls.local_ca", t.LocalCA, f.trusted)
		f.secret("tls.local_ca", certs.CAKeyFile(t.LocalCA))
	}
	if t.ACME.Used() {
		f.folder("tls.acme.storage", t.ACME.Storage)
		f.authorities("tls.acme.ca_roots", t.ACME.CARoots)
		f.tree("tls.acme.storage", t.ACME.Storage, func(key, path string) {
			if f.trusted(key, path); filepath.Ext(path) == ".key" {
				f.secret(key, path)
			}
		})
		if t.ACME.DNSProgram != "" {
			f.trusted("tls.acme.dns_program", t.ACME.DNSProgram)
		}
		for _, name := range acmeNames(f.cfg, ts) {
			if !fileCovers(f.cfg, name) {
				f.found("tls.acme.names", certs.ExamineACME(t.ACME.Storage, name, f.now))
			}
		}
	}
	f.publicAddress(ts)
}

// acmeNames returns the names for which ACME is to obtain certificates.
func acmeNames(cfg *configs.Config, ts *configs.Tenants) []string {
	names := slices.Clone(cfg.TLS.ACME.Names)
	if cfg.TLS.ACME.OnDemand {
		names = append(names, tenants.Hosts(ts)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func fileCovers(cfg *configs.Config, name string) bool {
	return slices.ContainsFunc(cfg.TLS.Certificates, func(c configs.CertificateFiles) bool {
		return certs.Pair{Cert: c.Cert, Key: c.Key}.Covers(name)
	})
}

// certified reports whether the server has, or obtains, a certificate for a name.
func certified(cfg *configs.Config, ts *configs.Tenants, name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	names := acmeNames(cfg, ts)
	return fileCovers(cfg, name) || slices.Contains(names, name) || slices.Contains(names, "*."+parent)
}

// publicAddress compares the name in DSNs with the names of certificates.
func (f *Findings) publicAddress(ts *configs.Tenants) {
	public, err := url.Parse(f.cfg.PublicAddress)
	if err != nil || public.Scheme != "tls" {
		return
	}
	host := strings.ToLower(public.Hostname())
	switch {
	case !f.cfg.TLS.Used():
		f.note("public_address begins with tls:, and the server has no certificates: clients can connect only " +
			"through a balancer that does TLS")
	case f.cfg.TLS.LocalCA != "", certified(f.cfg, ts, host): // the local CA certifies it
	case slices.ContainsFunc(f.cfg.Listen, func(l configs.Listen) bool { return len(l.Proxies) > 0 }):
		f.note("no certificate is for %s, the name in public_address: clients can connect there only through a "+
			"balancer that does TLS", host)
	default:
		f.wrong("public_address", "no certificate is for %s: clients that are given this address refuse the server "+
			"(name it in tls.acme.names, or list a certificate for it)", host)
	}
}

func (f *Findings) admin() {
	cfg := f.cfg.Admin
	if cfg.Address == "" {
		return
	}
	_, err := operatorsToken(cfg)
	f.err("admin.token_file", err)
	if cfg.TokenFile != "" {
		f.secret("admin.token_file", cfg.TokenFile)
	}
	if cfg.Certificate != "" {
		f.pair("admin.certificate", certs.Pair{Cert: cfg.Certificate, Key: cfg.Key})
	}
	f.authorities("admin.client_ca", cfg.ClientCA)
}

func (f *Findings) policies() {
	if folder := f.cfg.Policy.Folder; folder != "" {
		f.tree("policy.folder", folder, f.trusted)
	}
	b := f.cfg.Policy.Bundle
	if !b.Used() {
		return
	}
	checkBundleFiles(b, f.err)
	f.authorities("policy.bundle.ca_roots", b.CARoots)
	if b.TokenFile != "" {
		f.secret("policy.bundle.token_file", b.TokenFile)
	}
	if strings.HasPrefix(b.Algorithm, "HS") { // the key signs, too
		f.secret("policy.bundle.key_file", b.KeyFile)
	} else {
		f.trusted("policy.bundle.key_file", b.KeyFile)
	}
	f.folder("policy.bundle.keep", b.Keep)
	f.tree("policy.bundle.keep", b.Keep, f.trusted)
}

func (f *Findings) logs() {
	for _, log := range []struct{ key, output string }{
		{"audit.output", f.cfg.Audit.Output}, {"audit.decisions.output", f.cfg.Audit.Decisions.Output},
	} {
		key, output := log.key, log.output
		f.err(key, inspectLogFile(output))
		if !isLogFile(output) {
			continue
		}
		info, err := os.Stat(output)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		f.trusted(key, output)
		if mode, ok := modeOf(output); ok && mode.Perm()&0o004 != 0 {
			f.note("other users of this machine may read %s (mode %v): chmod o= %s", output, mode.Perm(), output)
		}
	}
}

// storage examines the folder of the sessions, which the server closes to other users when it opens it.
func (f *Findings) storage() {
	c := f.cfg.Storage
	if c.Driver == "memory" {
		return
	}
	f.folder("storage.path", c.Path)
	if _, err := claimable(c.Path, c.Driver); !errors.Is(err, fs.ErrPermission) { // reported already
		f.err("storage.path", err)
	}
	f.replaceable("storage.path", c.Path)
	mode, ok := modeOf(c.Path)
	if !ok || !mode.IsDir() {
		return
	}
	const advice = "the server makes folders 0700 and files 0600 when it starts as their owner, or: chmod -R go="
	if mode.Perm()&0o077 != 0 {
		f.wrong("storage.path", "other users of this machine may use the folder %s (mode %v), where the sessions "+
			"are; %s %s", c.Path, mode.Perm(), advice, c.Path)
	}
	open, first := 0, ""
	_ = walkOpen(c.Path, func(path string, mode fs.FileMode) error {
		if path != c.Path {
			if open++; open == 1 {
				first = fmt.Sprintf("%s (mode %v)", path, mode.Perm())
			}
		}
		return nil
	})
	if open > 0 {
		f.wrong("storage.path", "files in %s that hold sessions are not for their owner alone, %d of them, such as "+
			"%s; %s %s", c.Path, open, first, advice, c.Path)
	}
}

func (f *Findings) tenants(ts *configs.Tenants) {
	f.trusted("tenants", f.cfg.Tenants)
	for _, t := range ts.All {
		path := filepath.Join(f.cfg.Tenants, t.Name+configs.TenantExt)
		if mode, ok := modeOf(path); ok && mode.Perm()&0o002 != 0 {
			f.Problems = append(f.Problems, configs.Problem{File: path, Text: fmt.Sprintf(
				"other users of this machine may write it, and so let themselves in (mode %v): chmod o-w %s",
				mode.Perm(), path)})
		}
	}
	f.Notes = append(f.Notes, tenantNotes(f.cfg, ts)...)
}

// ids notes the tenants that are not strict.
func (f *Findings) ids(all []server.Tenant) {
	var names []string
	for _, t := range all {
		if !t.Sessions.Strict {
			names = append(names, t.Name)
		}
	}
	if len(names) > 0 {
		f.note("tenants that are not strict: %s. %s", tenants.Shorten(names, 20), ChosenIDs)
	}
}

// ChosenIDs explains the risk of a tenant that is not strict.
const ChosenIDs = "Clients can create sessions there under ids that they choose (session.strict is false). If an app " +
	"opens the id of a cookie without u, a visitor can choose the session id of another visitor"

// Examine logs what an examination of the running server finds: problems as errors, notes as warnings.
func (a *App) Examine(now time.Time) {
	ts := a.tenants.Tenants()
	f := Examine(a.cfg, ts, now)
	for _, problem := range f.Problems {
		a.log.Error("the examination found a mistake", "problem", problem.Error())
	}
	for _, note := range append(f.Notes, PolicyNotes(a.cfg, ts, a.policy.Owners())...) {
		a.log.Warn(note)
	}
}

// examineDaily examines the server once a day until ctx ends, since certificates expire and files change.
func (a *App) examineDaily(ctx context.Context) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-day.C:
			a.Examine(now)
		}
	}
}
