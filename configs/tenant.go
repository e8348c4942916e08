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

// TenantExt is how the name of a tenant's file ends; what stands before it is the tenant's name.
const TenantExt = ".yaml"

// Tenant is the file of a tenant. Who may come is always written out; session, quotas and rates that it leaves out are those of the configuration.
type Tenant struct {
	Name string // from the name of the file

	Allow   []Prefix       `yaml:"allow"` // from where its apps may come
	Deny    []Prefix       `yaml:"deny"`  // from where not, although allow has them
	Hosts   []string       `yaml:"hosts"` // names for which the server is to obtain certificates
	Session Session        `yaml:"session"`
	Quotas  Quotas         `yaml:"quotas"`
	Rates   Rates          `yaml:"rates"`
	Policy  map[string]any `yaml:"policy"` // what policies find under data.tenants.NAME.settings, made of what JSON knows
	Apps    map[string]App `yaml:"apps"`

	document
}

// App is a credential inside a tenant.
type App struct {
	Role         string   `yaml:"role"`
	Secrets      []string `yaml:"secrets"`      // hashes
	Certificates []string `yaml:"certificates"` // names that its client certificates bear
	Allow        []Prefix `yaml:"allow"`        // from where it may come, of where the tenant may come from; none is from everywhere there
	Deny         []Prefix `yaml:"deny"`
	Read         []string `yaml:"read"`  // patterns of the keys that it may read; left out, that is nil, every key
	Write        []string `yaml:"write"` // and of those that it may write
}

// AppNames are the names of the apps, sorted.
func (t *Tenant) AppNames() []string { return slices.Sorted(maps.Keys(t.Apps)) }

// AppKey is the key of an app in the file of its tenant.
func AppKey(app string) string { return "apps." + quoted(app) }

// LoadTenant reads the file of a tenant beside the configuration main. See ParseTenant, and LoadTenants for links.
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

// readTenant reads a file of the folder, up to one byte more than it may have. Who may write into the folder need not be who reads it: nothing
// that lies elsewhere is read, and no pipe is waited for.
func readTenant(folder *os.Root, name string) ([]byte, error) {
	f, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if info, lerr := folder.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("%w (a link here may only lead to what is in this folder too: put the file itself here)", cause(err))
		}
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	return io.ReadAll(io.LimitReader(f, SizeMax+1))
}

func unreadable(file string, err error) Problem {
	return Problem{File: file, Text: "it cannot be read: " + cause(err).Error()}
}

// cause is what the system says, without the file that the message is about anyhow.
func cause(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// ParseTenant reads a tenant as strictly as Parse does a configuration. The tenant is named after the file; whether that is a name, and all else
// that this package cannot know, is for also to say.
func ParseTenant(file string, data []byte, main *Config, also ...func(*Tenant) Problems) (*Tenant, error) {
	t, problems := ParseTenantAnyhow(file, data, main, also...)
	if len(problems) > 0 {
		return nil, problems
	}
	return t, nil
}

// ParseTenantAnyhow answers what can be read of a tenant with which something may be wrong, as LoadAnyhow does of a configuration.
func ParseTenantAnyhow(file string, data []byte, main *Config, also ...func(*Tenant) Problems) (*Tenant, Problems) {
	t := &Tenant{
		Name:    strings.TrimSuffix(filepath.Base(file), TenantExt),
		Session: main.Session, Quotas: main.Quotas, Rates: main.Rates.Rates,
	}
	asks := []func() Problems{func() Problems { return t.validate(main) }}
	for _, ask := range also {
		asks = append(asks, func() Problems { return ask(t) })
	}
	return t, parse(file, data, &t.document, t, t.decoded, asks)
}

// decoded tells lists of patterns that are empty, which are no key at all, from those that are left out.
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

// validate returns everything that is wrong with the tenant, as far as this package can know.
func (t *Tenant) validate(main *Config) Problems {
	v := validator{c: &t.document}
	if len(t.Allow) == 0 {
		v.add("allow", "nobody may come (allowed: address ranges; everybody is 0.0.0.0/0 and ::/0)")
	}
	for i, host := range t.Hosts {
		if key := fmt.Sprintf("hosts[%d]", i); !isHost(host) {
			v.add(key, "%.80q (allowed: a name such as sessions.example.com, in lower case)", host)
		} else if slices.Index(t.Hosts, host) < i {
			v.add(key, "%q is there twice", host)
		}
	}
	if t.Session.MaxValue > main.Limits.Value {
		v.add("session.max_value", "%v is more than limits.value of the server lets through (allowed: up to %v)", t.Session.MaxValue, main.Limits.Value)
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
			v.add(key+".allow", "nobody may come (allowed: address ranges, or to leave it out)")
		}
		v.once(key+".secrets", app.Secrets)
		v.once(key+".certificates", app.Certificates)
	}
	return v.problems
}

// once wants each of a list to be there once.
func (v *validator) once(key string, list []string) {
	for i, one := range list {
		if slices.Index(list, one) < i {
			v.add(fmt.Sprintf("%s[%d]", key, i), "%.100q is there twice", one)
		}
	}
}

// isHost reports whether name is one that a certificate authority could put into a certificate: letters, digits and hyphens with dots between
// (RFC 1123, section 2.1), not an address, without wildcards. Package certs has the same rule.
func isHost(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(name) <= 253 && len(labels) > 1 && strings.Trim(last, "0123456789") != ""
}
