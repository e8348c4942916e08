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

// ErrBadCredentials is the one answer to an unknown tenant, an unknown app and a wrong secret.
var ErrBadCredentials = errors.New("auth: bad credentials")

// SecretsMax is how many secrets an app has at most: the one in use and, while it is being replaced, the next.
const SecretsMax = 2

// Tenant is a namespace with the apps that share its sessions.
type Tenant struct {
	Name   string
	Access Allowlist
	Apps   []App
}

// App is a credential inside a tenant.
type App struct {
	Name         string
	Role         Role
	Access       *Allowlist // beside the tenant's, which must admit the client too; nil asks for no more than that
	Secrets      []SecretHash
	Certificates []CertificateName
	Read, Write  []string // patterns of the keys that it may read and write, as policies see them; nil is every key
}

// clone copies all that is not for the caller of NewDirectory to change any more.
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

// Role is what an app is for, as policies see it.
type Role string

const (
	ReadWrite Role = "readwrite"
	ReadOnly  Role = "readonly"
	Admin     Role = "admin"
)

// Roles are all that there are.
var Roles = []Role{ReadWrite, ReadOnly, Admin}

// Directory knows all tenants and their apps. It is never changed: other tenants are another Directory.
type Directory struct {
	tenants      map[string]*Tenant
	apps         map[Identity]*App
	certificates map[CertificateName]Identity // nobody, if several apps claim the name
}

// NewDirectory makes a directory. Its error tells of everything that is wrong with the tenants: names that are none, or are there twice, roles
// that there are not, too many secrets.
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
			errs = append(errs, fmt.Errorf("auth: tenant %.80q: the name is none, or another's too", t.Name))
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
		return fmt.Errorf("auth: app %.160q: the name is none, or another's too", id)
	}
	if !slices.Contains(Roles, a.Role) {
		return fmt.Errorf("auth: app %s has the role %.40q (allowed: %q)", id, a.Role, Roles)
	}
	if len(a.Secrets) > SecretsMax {
		return fmt.Errorf("auth: app %s has %d secrets (allowed: %d)", id, len(a.Secrets), SecretsMax)
	}
	d.apps[id] = a
	for _, name := range a.Certificates {
		if _, claimed := d.certificates[name]; claimed && d.certificates[name] != id {
			id = Identity{} // two apps claim it: it is nobody's
		}
		d.certificates[name] = id
		id = Identity{Tenant: tenant, App: a.Name}
	}
	return nil
}

// Grant is what somebody gets who has shown good credentials. The zero Grant is nobody's.
type Grant struct {
	Identity Identity
	Role     Role
	Expires  time.Time // when the client's certificate does; zero if it has shown none

	secret      SecretHash
	certificate *x509.Certificate
	anonymous   bool
}

// Secret answers the grant for a name, tenant/app, and a secret. All that is not good is ErrBadCredentials, and takes the same time.
func (d *Directory) Secret(name, secret string) (Grant, error) {
	hash := HashSecret(secret)
	id, ok := parseIdentity(name) // an unknown name takes the way of a known one from here on
	app := d.apps[id]
	if app == nil {
		app = &App{}
	}
	same := 0
	for i := range SecretsMax {
		var kept SecretHash // of no secret
		if i < len(app.Secrets) {
			kept = app.Secrets[i]
		}
		same |= subtle.ConstantTimeCompare(hash[:], kept[:])
	}
	if !ok || same == 0 {
		return Grant{}, ErrBadCredentials
	}
	return Grant{Identity: id, Role: app.Role, secret: hash}, nil
}

// Certificate answers the grant for a client certificate that has been verified. One that several apps could claim is ErrBadCredentials, like
// one that nobody claims.
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

// Anonymous answers the grant for clients that a listener takes without credentials.
func (d *Directory) Anonymous(id Identity) (Grant, error) {
	app := d.apps[id]
	if app == nil {
		return Grant{}, ErrBadCredentials
	}
	return Grant{Identity: id, Role: app.Role, anonymous: true}, nil
}

// Method is how somebody has shown who it is.
type Method string

const (
	BySecret      Method = "secret"
	ByCertificate Method = "certificate"
	Anonymously   Method = "anonymous"
)

// Methods are all that there are.
var Methods = []Method{BySecret, ByCertificate, Anonymously}

// Method answers how the grant was got, "" for nobody's.
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

// Renew answers what a grant of an earlier directory is worth in this one: ErrBadCredentials if the credentials that it was given for are
// not good any more.
func (d *Directory) Renew(g Grant) (Grant, error) {
	app := d.apps[g.Identity]
	if app == nil {
		return Grant{}, ErrBadCredentials
	}
	good := g.anonymous
	for _, kept := range app.Secrets {
		good = good || kept == g.secret
	}
	if g.certificate != nil {
		now, err := d.Certificate(g.certificate)
		good = err == nil && now.Identity == g.Identity
	}
	if !good {
		return Grant{}, ErrBadCredentials
	}
	g.Role = app.Role
	return g, nil
}

// Admits reports whether a client at ip may act as id. Nobody may come from anywhere.
func (d *Directory) Admits(id Identity, ip netip.Addr) bool {
	tenant, app := d.tenants[id.Tenant], d.apps[id]
	return tenant != nil && app != nil && tenant.Access.Admits(ip) && (app.Access == nil || app.Access.Admits(ip))
}
