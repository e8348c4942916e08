package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// TenantExt is the extension of a tenant's file; the rest of the file name is the tenant's name.
const TenantExt = ".yaml"

// Tenant is a tenant's file. Allow is required; session settings, quotas and rates default to those of the
// configuration.
type Tenant struct {
	Name string // from the file name

	Allow   []Prefix       `yaml:"allow"` // addresses that its apps may connect from
	Deny    []Prefix       `yaml:"deny"`  // addresses that they may not connect from, although allow has them
	Hosts   []string       `yaml:"hosts"` // names for which the server obtains certificates
	Session Session        `yaml:"session"`
	Quotas  Quotas         `yaml:"quotas"`
	Rates   Rates          `yaml:"rates"`
	Policy  map[string]any `yaml:"policy"` // data.tenants.NAME.settings of policies: any JSON value
	Apps    map[string]App `yaml:"apps"`

	document
}

// App is a credential inside a tenant.
type App struct {
	Role         string   `yaml:"role"`
	Secrets      []string `yaml:"secrets"`      // hashes
	Certificates []string `yaml:"certificates"` // names in its client certificates
	Allow        []Prefix `yaml:"allow"`        // restricts the tenant's addresses; nil adds no restriction
	Deny         []Prefix `yaml:"deny"`
	Read         []string `yaml:"read"`  // patterns of readable keys; nil, if left out, is every key
	Write        []string `yaml:"write"` // patterns of writable keys, likewise
}

// AppNames returns the names of the apps, sorted.
func (t *Tenant) AppNames() []string { return slices.Sorted(maps.Keys(t.Apps)) }

// AppKey returns the key of an app in its tenant's file.
func AppKey(app string) string { return "apps." + quoted(app) }

// LoadTenant reads a tenant's file; main has the defaults. See ParseTenant, and LoadTenants for links.
func LoadTenant(file string, main *Config, also ...func(*Tenant) Problems) (*Tenant, error) {
	folder, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	defer folder.Close()
	data, err := readTenant(folder, filepath.Base(file))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("configs: %w", err)
		}
		return nil, Problems{unreadable(file, err)}
	}
	return ParseTenant(file, data, main, also...)
}

// readTenant returns the content of a file in the folder, up to one byte more than the maximum. The user who writes in
// the folder may have fewer rights than the reader: so no file outside the folder is read, and a pipe does not block.
func readTenant(folder *os.Root, name string) ([]byte, error) {
	f, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if info, lerr := folder.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("%w (a link must lead to a file within the folder: put the file itself here)", cause(err))
		}
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(io.LimitReader(f, SizeMax+1))
}

func unreadable(file string, err error) Problem {
	return Problem{File: file, Text: "cannot be read: " + cause(err).Error()}
}

// cause returns the error of the system without the file name, which the message has already.
func cause(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// ParseTenant reads a tenant as strictly as Parse reads a configuration. The file name is the tenant's name. Each of
// also reports problems that this package cannot find, such as an invalid name.
func ParseTenant(file string, data []byte, main *Config, also ...func(*Tenant) Problems) (*Tenant, error) {
	t, problems := ParseTenantAnyhow(file, data, main, also...)
	if len(problems) > 0 {
		return nil, problems
	}
	return t, nil
}

// ParseTenantAnyhow returns the valid parts of a tenant's file and its problems, as LoadAnyhow does for a
// configuration.
func ParseTenantAnyhow(file string, data []byte, main *Config, also ...func(*Tenant) Problems) (*Tenant, Problems) {
	t := &Tenant{
		Name:    strings.TrimSuffix(filepath.Base(file), TenantExt),
		Session: main.Session, Quotas: main.Quotas, Rates: main.Rates.Rates,
	}
	checks := []func() Problems{func() Problems { return t.validate(main) }}
	for _, check := range also {
		checks = append(checks, func() Problems { return check(t) })
	}
	return t, parse(file, data, &t.document, t, t.decoded, checks)
}

// decoded makes an empty list of patterns, which permits no key, differ from a list that is left out.
func (t *Tenant) decoded() {
	for name, app := range t.Apps {
		for setting, list := range map[string]*[]string{"read": &app.Read, "write": &app.Write} {
			if _, written := t.lines[AppKey(name)+"."+setting]; written && *list == nil {
				*list = []string{}
			}
		}
		t.Apps[name] = app
	}
}

// validate returns all problems of the tenant that this package can find.
func (t *Tenant) validate(main *Config) Problems {
	v := validator{c: &t.document}
	if len(t.Allow) == 0 {
		v.add("allow", "no address is admitted (allowed: address ranges; everybody is 0.0.0.0/0 and ::/0)")
	}
	for i, host := range t.Hosts {
		if key := fmt.Sprintf("hosts[%d]", i); !isHost(host) {
			v.add(key, "%.80q (allowed: a name such as sessions.example.com, in lower case)", host)
		} else if slices.Index(t.Hosts, host) < i {
			v.add(key, "duplicate %q", host)
		}
	}
	if t.Session.MaxValue > main.Limits.Value {
		v.add("session.max_value", "%v exceeds limits.value of the configuration (allowed: up to %v)",
			t.Session.MaxValue, main.Limits.Value)
	}
	v.session(t.Session)
	v.quotas(t.Quotas)
	v.credentials(t)
	v.rates(t.Rates)
	v.tenantPolicy(t.Policy)
	for _, name := range t.AppNames() {
		key := AppKey(name)
		app := t.Apps[name]
		if _, written := t.lines[key+".allow"]; written && len(app.Allow) == 0 {
			v.add(key+".allow", "no address is admitted (allowed: address ranges, or to leave it out)")
		}
		v.once(key+".secrets", app.Secrets)
		v.once(key+".certificates", app.Certificates)
	}
	return v.problems
}

// once requires the elements of a list to be distinct.
func (v *validator) once(key string, list []string) {
	for i, one := range list {
		if slices.Index(list, one) < i {
			v.add(fmt.Sprintf("%s[%d]", key, i), "duplicate %.100q", one)
		}
	}
}

// isHost reports whether name can be in a certificate: labels of letters, digits and hyphens with dots between them
// (RFC 1123, section 2.1), not an address, without wildcards. Package certs has the same rule.
func isHost(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(name) <= 253 && len(labels) > 1 && strings.Trim(last, "0123456789") != ""
}
