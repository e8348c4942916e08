package auth

import (
	"fmt"
	"log/slog"
	"strings"
)

// Identity is the tenant and app as which a connection acts. The zero Identity is unauthenticated.
type Identity struct {
	Tenant string // the namespace of the connection's sessions
	App    string // the credential in the tenant
}

// IsZero reports whether the identity is unauthenticated.
func (id Identity) IsZero() bool { return id == Identity{} }

func (id Identity) String() string { return id.Tenant + "/" + id.App }

// LogValue implements slog.LogValuer. The zero Identity is "".
func (id Identity) LogValue() slog.Value {
	if id.IsZero() {
		return slog.StringValue("")
	}
	return slog.StringValue(id.String())
}

// ParseIdentity parses tenant/app. Both are 1 to 64 of the characters a-z, 0-9, - and _, with a letter or digit
// first. So no path, pattern, metric label or DSN can mistake a name for more than a name. The error contains the
// beginning of name, quoted.
func ParseIdentity(name string) (Identity, error) {
	id, ok := parseIdentity(name)
	if !ok {
		return Identity{}, fmt.Errorf("auth: %.80q is not tenant/app (each 1 to 64 of a-z, 0-9, - and _, "+
			"a letter or digit first)", name)
	}
	return id, nil
}

// parseIdentity is ParseIdentity without the time to format an error.
func parseIdentity(name string) (id Identity, ok bool) {
	tenant, app, found := strings.Cut(name, "/")
	if !found || !ValidName(tenant) || !ValidName(app) {
		return Identity{}, false
	}
	return Identity{Tenant: tenant, App: app}, true
}

// ValidName reports whether name is valid for a tenant or an app; see ParseIdentity.
func ValidName(name string) bool {
	if len(name) < 1 || len(name) > 64 {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return true
}
