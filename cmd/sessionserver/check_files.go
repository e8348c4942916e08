package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sessionserver/configs"
	"sessionserver/server/certs"
)

// inspectFiles answers what is wrong with the files and folders that a configuration names, as the user sees them who runs this, and what is
// unlikely to be meant. It reads and changes nothing.
func inspectFiles(cfg *configs.Config) (problems configs.Problems, notes []string) {
	add := func(key string, err error) {
		if err != nil {
			problems = append(problems, cfg.Problem(key, "%s", strings.TrimPrefix(err.Error(), "certs: ")))
		}
	}
	for i, pair := range cfg.TLS.Certificates {
		add(fmt.Sprintf("tls.certificates[%d]", i), certs.Pair{Cert: pair.Cert, Key: pair.Key}.Check())
		if info, err := os.Stat(pair.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
			notes = append(notes, fmt.Sprintf("everybody on this machine may read or write the private key %s (mode %v): chmod o= it", pair.Key, info.Mode().Perm()))
		}
	}
	for i, l := range cfg.Listen {
		if l.ClientCA != "" {
			add(fmt.Sprintf("listen[%d].client_ca", i), certs.CheckCA(l.ClientCA))
		}
	}
	notes = append(notes, inspectAdminFiles(cfg.Admin, add)...)
	folder := func(key, path string) {
		note, err := usable(path)
		add(key, err)
		if note != "" {
			notes = append(notes, note)
		}
	}
	if cfg.TLS.LocalCA != "" {
		folder("tls.local_ca", cfg.TLS.LocalCA)
	}
	if cfg.TLS.ACME.Used() {
		folder("tls.acme.storage", cfg.TLS.ACME.Storage)
		if cfg.TLS.ACME.CARoots != "" {
			add("tls.acme.ca_roots", certs.CheckCA(cfg.TLS.ACME.CARoots))
		}
	}
	if b := cfg.Policy.Bundle; b.Used() {
		checkBundleFiles(b, add)
		if b.TokenFile != "" {
			notes = append(notes, unguarded(b.TokenFile)...)
		}
		folder("policy.bundle.keep", b.Keep)
	}
	add("audit.output", inspectLogFile(cfg.Audit.Output))
	add("audit.decisions.output", inspectLogFile(cfg.Audit.Decisions.Output))
	if cfg.Storage.Driver != "memory" {
		folder("storage.path", cfg.Storage.Path)
		owner, err := owner(cfg.Storage.Path)
		if err == nil && owner != "" && owner != cfg.Storage.Driver {
			err = foreign(cfg.Storage.Path, owner, cfg.Storage.Driver)
		}
		if !errors.Is(err, fs.ErrPermission) { // it was told
			add("storage.path", err)
		}
	}
	return problems, notes
}

// checkBundleFiles reports what is wrong with the files that a bundle of policies is loaded with, and how many.
func checkBundleFiles(b configs.Bundle, report func(key string, err error)) (wrong int) {
	check := func(key string, err error) {
		if err != nil {
			wrong++
			report("policy.bundle."+key, err)
		}
	}
	_, err := bundleKey(b)
	check("key_file", err)
	if b.CARoots != "" {
		check("ca_roots", certs.CheckCA(b.CARoots))
	}
	if b.TokenFile != "" {
		_, err := readToken(b.TokenFile)
		check("token_file", err)
	}
	return wrong
}

// unguarded tells which of these secret files are for everybody to read.
func unguarded(files ...string) (notes []string) {
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
			notes = append(notes, fmt.Sprintf("everybody on this machine may read or write %s (mode %v): chmod o= it", file, info.Mode().Perm()))
		}
	}
	return notes
}

// usable answers why the server, as this user, could not use a folder or make it with those around it, or what is odd about that.
func usable(path string) (note string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := 0
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			if _, err := os.Lstat(at); err == nil {
				return "", fmt.Errorf("%s is a link to nothing", at)
			}
			missing++
			continue
		}
		what := fmt.Sprintf("%s cannot be used", path)
		if missing > 0 {
			what = fmt.Sprintf("%s is not there and cannot be made", path)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("%s: %w", what, err)
		case !info.IsDir():
			return "", fmt.Errorf("%s: %s is no folder", what, at)
		}
		if err := writable(at); err != nil {
			return "", fmt.Errorf("%s: %s is not writable for user %d, who checks; check as the user that the server runs as (%w)", what, at, os.Getuid(), err)
		}
		if missing > 1 {
			note = fmt.Sprintf("%s is not there, nor is the folder that it lies in: the server makes both", path)
		}
		return note, nil
	}
}

// openToOthers are notes on what everybody on this machine may write and so decide who may come.
func openToOthers(cfg *configs.Config, ts *configs.Tenants) []string {
	paths := []string{cfg.Tenants}
	for _, t := range ts.All {
		paths = append(paths, filepath.Join(cfg.Tenants, t.Name+configs.TenantExt))
	}
	var notes []string
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o002 != 0 {
			notes = append(notes, fmt.Sprintf("everybody on this machine may write %s and so let himself in (mode %v): chmod o-w it", path, info.Mode().Perm()))
		}
	}
	return notes
}
