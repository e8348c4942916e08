package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// Settings returns the session settings without quotas.
func (s Session) Settings() session.Settings {
	return session.Settings{
		Lifetime: s.Lifetime, AbsoluteLifetime: s.AbsoluteLifetime, EmptyLifetime: s.EmptyLifetime, Strict: s.Strict,
		LockLease: s.LockLease, LockWait: s.LockWait, GraceMax: s.GraceMax,
		MaxKeys: s.MaxKeys, MaxValue: int(s.MaxValue), MaxBytes: int(s.MaxBytes),
	}
}

// SessionSettings returns the tenant's session settings, with its quotas.
func (t *Tenant) SessionSettings() session.Settings {
	s := t.Session.Settings()
	s.MaxSessions, s.MaxTotalBytes, s.MaxWaiters = t.Quotas.Sessions, int64(t.Quotas.Bytes), t.Quotas.Waiters
	return s
}

// Wire returns the limits of a request.
func (l Limits) Wire() wire.Limits {
	return wire.Limits{Line: int(l.Line), Value: int(l.Value), Request: int(l.Request), Args: l.Args}
}

// Allowlist returns the addresses from which clients may connect to the listener.
func (l Listen) Allowlist() auth.Allowlist { return allowlist(l.Allow, l.Deny) }

// Identity returns the identity of clients without credentials. It reports false if there is none.
func (l Listen) Identity() (auth.Identity, bool) {
	id, err := auth.ParseIdentity(l.Anonymous)
	return id, err == nil
}

// Prefixes returns the address ranges.
func Prefixes(ranges []Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(ranges))
	for i, r := range ranges {
		all[i] = r.Prefix
	}
	return all
}

// Everywhere returns the ranges that contain all addresses.
func Everywhere() []Prefix {
	return []Prefix{{netip.MustParsePrefix("0.0.0.0/0")}, {netip.MustParsePrefix("::/0")}}
}

func allowlist(allow, deny []Prefix) auth.Allowlist {
	return auth.Allowlist{Allow: Prefixes(allow), Deny: Prefixes(deny)}
}

// Auth returns the tenant with its apps, sorted by name. The file must be valid.
func (t *Tenant) Auth() auth.Tenant {
	out := auth.Tenant{Name: t.Name, Access: allowlist(t.Allow, t.Deny)}
	for _, name := range t.AppNames() {
		out.Apps = append(out.Apps, t.Apps[name].auth(name))
	}
	return out
}

func (a App) auth(name string) auth.App {
	out := auth.App{Name: name, Role: auth.Role(a.Role), Read: a.Read, Write: a.Write}
	for _, text := range a.Secrets {
		if hash, err := auth.ParseSecretHash(text); err == nil {
			out.Secrets = append(out.Secrets, hash)
		}
	}
	for _, text := range a.Certificates {
		if name, err := auth.ParseCertificateName(text); err == nil {
			out.Certificates = append(out.Certificates, name)
		}
	}
	if len(a.Allow)+len(a.Deny) > 0 {
		access := allowlist(a.Allow, a.Deny)
		if len(a.Allow) == 0 { // deny alone excludes some of the tenant's addresses
			access.Allow = Prefixes(Everywhere())
		}
		out.Access = &access
	}
	return out
}

// RoleNames returns the roles of apps, separated by commas.
func RoleNames() string {
	names := make([]string, len(auth.Roles))
	for i, r := range auth.Roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// session checks the session settings by the rules of package session.
func (v *validator) session(s Session) {
	for _, e := range s.Settings().Validate() {
		v.add("session."+settingName(e.Field), "%s", e.Problem)
	}
}

// settingName returns the setting of a field, such as lock_lease of LockLease.
func settingName(field string) string {
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// nameRule is the rule for names of tenants and apps; see auth.ValidName.
const nameRule = "1 to 64 of a-z, 0-9, - and _, a letter or digit first"

// credentials checks names, roles, secrets and certificate names by the rules of package auth.
func (v *validator) credentials(t *Tenant) {
	if !auth.ValidName(t.Name) {
		v.add("", "invalid tenant name %.80q (allowed: %s)", t.Name, nameRule)
	}
	for _, name := range t.AppNames() {
		key, app := AppKey(name), t.Apps[name]
		if !auth.ValidName(name) {
			v.add(key, "invalid app name %.80q (allowed: %s)", name, nameRule)
		}
		if app.Role == "" {
			v.add(key+".role", "missing (allowed: %s)", RoleNames())
		} else if !slices.Contains(auth.Roles, auth.Role(app.Role)) {
			v.add(key+".role", "%.40q (allowed: %s)", app.Role, RoleNames())
		}
		if len(app.Secrets) > auth.SecretsMax {
			v.add(key+".secrets", "%d secrets (allowed: %d, the current one and the next)",
				len(app.Secrets), auth.SecretsMax)
		}
		for i, text := range app.Secrets {
			at := fmt.Sprintf("%s.secrets[%d]", key, i)
			if auth.LooksLikeSecret(text) {
				v.add(at, "this is the secret itself, and every reader of the file could use it: "+
					"write %s here, and replace the secret soon with `sessionserver app rotate %s/%s`",
					auth.HashSecret(text), t.Name, name)
			} else if _, err := auth.ParseSecretHash(text); err != nil {
				v.add(at, "%s", strings.TrimPrefix(err.Error(), "auth: "))
			}
		}
		for i, text := range app.Certificates {
			if _, err := auth.ParseCertificateName(text); err != nil {
				v.add(fmt.Sprintf("%s.certificates[%d]", key, i), "%v", err)
			}
		}
	}
}
