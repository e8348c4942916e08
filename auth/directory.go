package auth

import (
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// ErrBadCredentials is the error for an unknown tenant, an unknown app and a wrong secret alike.
var ErrBadCredentials = errors.New("auth: bad credentials")

// SecretsMax is the maximum number of an app's secrets: the present one and, during a rotation, the next one.
const SecretsMax = 2

// Tenant is a namespace of sessions with the apps that share them.
type Tenant struct {
	Name   string
	Access Allowlist
	Apps   []App
}

// App is a credential in a tenant.
type App struct {
	Name         string
	Role         Role
	Access       *Allowlist // in addition to the tenant's; nil adds no restriction
	Secrets      []SecretHash
	Certificates []CertificateName
	Read, Write  []string // key patterns that the app may read and write, for policies; nil is every key
}

// clone copies everything that the caller of NewDirectory could change later.
func (t *Tenant) clone() *Tenant {
	c := &Tenant{Name: t.Name, Access: t.Access.clone(), Apps: slices.Clone(t.Apps)}
	for i := range c.Apps {
		a := &c.Apps[i]
		a.Secrets, a.Certificates = slices.Clone(a.Secrets), slices.Clone(a.Certificates)
		if a.Access != nil {
			access := a.Access.clone()
			a.Access = &access
		}
	}
	return c
}

// Role is the purpose of an app, for policies.
type Role string

const (
	ReadWrite Role = "readwrite"
	ReadOnly  Role = "readonly"
	Admin     Role = "admin"
)

// Roles are all roles.
var Roles = []Role{ReadWrite, ReadOnly, Admin}

// Directory holds all tenants and their apps. It never changes: for other tenants there is another Directory.
type Directory struct {
	tenants      map[string]*Tenant
	apps         map[Identity]*App
	certificates map[CertificateName]Identity // the zero Identity for a name that several apps claim
}

// NewDirectory returns a directory of the tenants. Its error lists everything that is invalid: invalid or duplicate
// names, unknown roles, too many secrets.
func NewDirectory(tenants []Tenant) (*Directory, error) {
	d := &Directory{
		tenants:      make(map[string]*Tenant, len(tenants)),
		apps:         make(map[Identity]*App),
		certificates: make(map[CertificateName]Identity),
	}
	var errs []error
	for i := range tenants {
		t := tenants[i].clone()
		if !ValidName(t.Name) || d.tenants[t.Name] != nil {
			errs = append(errs, fmt.Errorf("auth: tenant %.80q: invalid or duplicate name", t.Name))
		}
		d.tenants[t.Name] = t
		for j := range t.Apps {
			if err := d.add(t.Name, &t.Apps[j]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return d, errors.Join(errs...)
}

func (d *Directory) add(tenant string, a *App) error {
	id := Identity{Tenant: tenant, App: a.Name}
	if !ValidName(a.Name) || d.apps[id] != nil {
		return fmt.Errorf("auth: app %.160q: invalid or duplicate name", id)
	}
	if !slices.Contains(Roles, a.Role) {
		return fmt.Errorf("auth: app %s: unknown role %.40q (allowed: %q)", id, a.Role, Roles)
	}
	if len(a.Secrets) > SecretsMax {
		return fmt.Errorf("auth: app %s: %d secrets (allowed: %d)", id, len(a.Secrets), SecretsMax)
	}
	d.apps[id] = a
	for _, name := range a.Certificates {
		owner := id
		if other, claimed := d.certificates[name]; claimed && other != id {
			owner = Identity{} // a name that two apps claim identifies neither
		}
		d.certificates[name] = owner
	}
	return nil
}

// Grant is the result of valid credentials. The zero Grant is unauthenticated.
type Grant struct {
	Identity Identity
	Role     Role
	Expires  time.Time // expiry of the client certificate, zero without one

	secret      SecretHash
	certificate *x509.Certificate
	anonymous   bool
}

// Secret returns the grant for a name, tenant/app, and a secret. Invalid credentials of any kind return
// ErrBadCredentials after the same time.
func (d *Directory) Secret(name, secret string) (Grant, error) {
	hash := HashSecret(secret)
	id, ok := parseIdentity(name) // from here on, unknown names take as long as known ones
	app := d.apps[id]
	if app == nil {
		app = &App{}
	}
	equal := 0
	for i := range SecretsMax {
		var stored SecretHash // the zero hash is that of no secret
		if i < len(app.Secrets) {
			stored = app.Secrets[i]
		}
		equal |= subtle.ConstantTimeCompare(hash[:], stored[:])
	}
	if !ok || equal == 0 {
		return Grant{}, ErrBadCredentials
	}
	return Grant{Identity: id, Role: app.Role, secret: hash}, nil
}

// Certificate returns the grant for a verified client certificate. A certificate that no app claims, or more than
// one, returns ErrBadCredentials.
func (d *Directory) Certificate(cert *x509.Certificate) (Grant, error) {
	var g Grant
	for _, name := range names(cert) {
		id, claimed := d.certificates[name]
		if !claimed {
			continue
		}
		if id.IsZero() || !g.Identity.IsZero() && g.Identity != id {
			return Grant{}, ErrBadCredentials
		}
		if g.Identity.IsZero() {
			g = Grant{Identity: id, Role: d.apps[id].Role, Expires: cert.NotAfter, certificate: cert}
		}
	}
	if g.Identity.IsZero() {
		return g, ErrBadCredentials
	}
	return g, nil
}

// Anonymous returns the grant for clients that a listener accepts without credentials.
func (d *Directory) Anonymous(id Identity) (Grant, error) {
	app := d.apps[id]
	if app == nil {
		return Grant{}, ErrBadCredentials
	}
	return Grant{Identity: id, Role: app.Role, anonymous: true}, nil
}

// Method is a way of authentication.
type Method string

const (
	BySecret      Method = "secret"
	ByCertificate Method = "certificate"
	Anonymously   Method = "anonymous"
)

// Methods are all methods.
var Methods = []Method{BySecret, ByCertificate, Anonymously}

// Method returns the method by which the grant was obtained, or "" for the zero Grant.
func (g Grant) Method() Method {
	switch {
	case g.Identity.IsZero():
		return ""
	case g.anonymous:
		return Anonymously
	case g.certificate != nil:
		return ByCertificate
	}
	return BySecret
}

// Renew returns the grant of an earlier directory as it is in this one. It returns ErrBadCredentials if the
// credentials are not valid any more.
func (d *Directory) Renew(g Grant) (Grant, error) {
	app := d.apps[g.Identity]
	if app == nil {
		return Grant{}, ErrBadCredentials
	}
	valid := g.anonymous || slices.Contains(app.Secrets, g.secret)
	if g.certificate != nil {
		now, err := d.Certificate(g.certificate)
		valid = err == nil && now.Identity == g.Identity
	}
	if !valid {
		return Grant{}, ErrBadCredentials
	}
	g.Role = app.Role
	return g, nil
}

// Admits reports whether a client at ip may act as id. The zero Identity is admitted from no address.
func (d *Directory) Admits(id Identity, ip netip.Addr) bool {
	tenant, app := d.tenants[id.Tenant], d.apps[id]
	return tenant != nil && app != nil && tenant.Access.Admits(ip) && (app.Access == nil || app.Access.Admits(ip))
}
