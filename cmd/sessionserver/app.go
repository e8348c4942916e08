package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sessionserver/app/tenants"
	"sessionserver/auth"
	"sessionserver/configs"
)

type appCmd struct {
	Create appCreateCmd `cmd:"" help:"Create an app and print its DSN, once: only a hash of its secret is kept."`
	List   appListCmd   `cmd:"" help:"List the apps of a tenant."`
	Rotate appRotateCmd `cmd:"" help:"Give an app a second secret and print the new DSN, once; the old one stays good until it is revoked."`
	Revoke appRevokeCmd `cmd:"" help:"Take away a secret of an app, or the app; its connections end within a second."`
}

// newSecret returns a new secret, the text of its hash, and the comment for it in a file.
func newSecret() (secret, hash, comment string) {
	secret = auth.NewSecret()
	return secret, auth.HashSecret(secret).String(), "made " + time.Now().Format(time.DateOnly)
}

type appCreateCmd struct {
	App         string      `arg:"" name:"tenant/app" help:"The app."`
	Role        string      `default:"readwrite" help:"What it may do: readwrite, readonly (open sessions with r or s and change nothing), admin. See docs/policy.md."`
	Read        []string    `placeholder:"PATTERN" sep:"none" help:"A pattern of keys that it may read, such as user.*, which does not match user; the flag may stand several times. \"\" allows no key (default: every key)."`
	Write       []string    `placeholder:"PATTERN" sep:"none" help:"Likewise of keys that it may write: --write cart --write 'cart.*' for PHP's cart with format=json. It may end a session whatever the patterns are."`
	Certificate []string    `placeholder:"NAME" sep:"none" help:"A client certificate with this name is the app too: dns:NAME, uri:URI, subject:CN=… or sha256:FINGERPRINT."`
	Allow       []string    `placeholder:"RANGE" help:"From where it may come, of where its tenant may come from (default: everywhere there)."`
	NoSecret    bool        `help:"Without a secret: its certificates are its credentials."`
	Address     string      `placeholder:"DSN" help:"The server that the DSN is to name, such as tls://sessions.example.com:9090 (default: public_address of the configuration)."`
	Folder      folderFlags `embed:""`
}

// Run creates the app.
func (c *appCreateCmd) Run(ctx context.Context, io streams) error {
	id, err := parseApp(c.App)
	if err != nil {
		return err
	}
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	address, err := f.address(c.Address)
	if err != nil {
		return err
	}
	allow, err := ranges(c.Allow)
	if err != nil {
		return err
	}
	if c.NoSecret && len(c.Certificate) == 0 && !isAnonymous(f.Config, id) {
		return fmt.Errorf("--no-secret leaves %s without credentials, so no client could authenticate as it: give "+
			"--certificate NAME too, or a secret", id)
	}
	app := configs.App{
		Role: c.Role, Certificates: c.Certificate, Allow: allow,
		Read: keyPatterns(c.Read), Write: keyPatterns(c.Write),
	}
	var secret, comment string
	if !c.NoSecret {
		var hash string
		secret, hash, comment = newSecret()
		app.Secrets = []string{hash}
	}
	err = f.Change(ctx, id.Tenant, func(text []byte) ([]byte, error) {
		t, err := f.Parse(id.Tenant, text)
		if err != nil {
			return nil, err
		}
		if _, found := t.Apps[id.App]; found {
			return nil, fmt.Errorf("app %s exists already (app rotate gives it another secret)", id)
		}
		if err := unclaimed(f, c.Certificate); err != nil {
			return nil, err
		}
		return configs.AddApp(text, id.App, app, comment)
	})
	if err != nil {
		return err
	}
	waited := f.await(ctx, id.Tenant, io.err)
	if secret != "" || len(app.Certificates) > 0 {
		if _, err := fmt.Fprintln(io.out, newDSN(address, id, secret, len(app.Certificates) > 0)); err != nil {
			return fmt.Errorf("app %s was created, and its DSN could not be printed: app revoke %s and create it "+
				"again: %w", id, id, err)
		}
		if ca := address.CAFile; f.makes(ca) && missing(ca) {
			fmt.Fprintf(io.err, "%s, which the DSN names, does not exist yet: the server creates it when it starts.\n",
				ca)
		}
	}
	switch {
	case secret != "":
		fmt.Fprintln(io.err, "This is the DSN, shown once: only a hash of its secret is kept. It gives access to all "+
			"sessions of the tenant"+within(app)+".")
	case len(app.Certificates) > 0:
		fmt.Fprintln(io.err, "This is the DSN; write the paths of the certificate and its key into it. The listener "+
			"must ask for client certificates: see client_certificates.")
	default:
		fmt.Fprintf(io.err, "App %s has no credentials: only a listener's anonymous identity can be it.\n", id)
	}
	return waited
}

// keyPatterns returns the patterns of the flags. An empty pattern means no key at all.
func keyPatterns(flags []string) []string {
	if slices.Equal(flags, []string{""}) {
		return []string{}
	}
	return flags
}

// within returns how the rights of an app are limited.
func within(a configs.App) string {
	if a.Role == string(auth.ReadOnly) {
		return ", to read them"
	}
	if a.Read != nil || a.Write != nil {
		return ", within its patterns of keys"
	}
	return ""
}

// writeTexts returns the patterns of the keys that an app may write, for people.
func writeTexts(a configs.App) []string {
	if a.Role == string(auth.ReadOnly) {
		return []string{"none"}
	}
	return patternTexts(a.Write)
}

// patternTexts returns the patterns of an app, for people.
func patternTexts(patterns []string) []string {
	switch {
	case patterns == nil:
		return []string{"*"}
	case len(patterns) == 0:
		return []string{"none"}
	}
	return patterns
}

// isAnonymous reports whether the clients of a listener are this app without credentials.
func isAnonymous(cfg *configs.Config, id auth.Identity) bool {
	return slices.ContainsFunc(cfg.Listen, func(l configs.Listen) bool {
		anonymous, err := auth.ParseIdentity(l.Anonymous)
		return err == nil && anonymous == id
	})
}

// unclaimed returns an error if an app has one of these certificates already, since a certificate of two apps
// identifies neither.
func unclaimed(f *tenantFolder, certificates []string) error {
	names := make(map[auth.CertificateName]bool)
	for _, text := range certificates {
		if name, err := auth.ParseCertificateName(text); err == nil { // an invalid one is reported with the file
			names[name] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	for _, t := range tenants.Load(f.Config).All {
		for _, app := range t.AppNames() {
			for _, text := range t.Apps[app].Certificates {
				if name, err := auth.ParseCertificateName(text); err == nil && names[name] {
					return fmt.Errorf("--certificate: %s is a certificate of %s/%s already, and a certificate of "+
						"two apps identifies neither; nothing was changed", name, t.Name, app)
				}
			}
		}
	}
	return nil
}

func parseApp(text string) (auth.Identity, error) {
	id, err := auth.ParseIdentity(text)
	if err != nil {
		return id, errors.New(configs.Conceal(strings.TrimPrefix(err.Error(), "auth: ")))
	}
	return id, nil
}

type appListCmd struct {
	Tenant string      `arg:"" help:"The tenant."`
	Folder folderFlags `embed:""`
}

// Run lists the apps.
func (c *appListCmd) Run(io streams) error {
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	t, err := f.Tenant(c.Tenant)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "APP\tROLE\tREAD\tWRITE\tSECRETS\tCERTIFICATES\tALLOW")
	for _, name := range t.AppNames() {
		a := t.Apps[name]
		fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, name, a.Role, few(patternTexts(a.Read)),
			few(writeTexts(a)), few(shortHashes(a.Secrets)), few(a.Certificates), few(rangeTexts(a.Allow)))
	}
	return w.Flush()
}

type appRotateCmd struct {
	App     string      `arg:"" name:"tenant/app" help:"The app."`
	Address string      `placeholder:"DSN" help:"The server that the DSN is to name (default: public_address of the configuration)."`
	Folder  folderFlags `embed:""`
}

// Run adds a secret.
func (c *appRotateCmd) Run(ctx context.Context, io streams) error {
	id, err := parseApp(c.App)
	if err != nil {
		return err
	}
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	address, err := f.address(c.Address)
	if err != nil {
		return err
	}
	secret, hash, comment := newSecret()
	var before []string
	err = f.Change(ctx, id.Tenant, func(text []byte) ([]byte, error) {
		t, err := f.Parse(id.Tenant, text)
		if err != nil {
			return nil, err
		}
		a, err := appOf(t, id)
		if err != nil {
			return nil, err
		}
		if before = shortHashes(a.Secrets); len(before) >= auth.SecretsMax {
			return nil, fmt.Errorf("app %s has %d secrets already, %s: first end the old one with\n\n"+
				"    sessionserver app revoke %s --oldest %s", id, len(before), strings.Join(before, " and "), id,
				c.Folder)
		}
		return configs.AddSecret(text, id.App, hash, comment)
	})
	if err != nil {
		return err
	}
	waited := f.await(ctx, id.Tenant, io.err)
	if _, err := fmt.Fprintln(io.out, newDSN(address, id, secret, false)); err != nil {
		return fmt.Errorf("the DSN could not be printed: app revoke %s --secret %s and rotate again: %w", id,
			auth.HashSecret(secret).Short(), err)
	}
	fmt.Fprintln(io.err, "This is the new DSN, shown once: only a hash of its secret is kept.")
	if len(before) > 0 {
		fmt.Fprintf(io.err, "The old one stays valid. Once it is no longer used, revoke it with\n\n"+
			"    sessionserver app revoke %s --oldest %s\n\n", id, c.Folder)
	}
	return waited
}

func appOf(t *configs.Tenant, id auth.Identity) (configs.App, error) {
	a, found := t.Apps[id.App]
	if !found {
		return a, fmt.Errorf("tenant %s has no app %s (app list %s shows all)", id.Tenant, id.App, id.Tenant)
	}
	return a, nil
}

type appRevokeCmd struct {
	App    string      `arg:"" name:"tenant/app" help:"The app: all of it, unless one of the flags names a secret."`
	Secret *string     `xor:"secret" placeholder:"SHORT" help:"Only the secret whose hash begins so, as app list shows it."`
	Oldest bool        `xor:"secret" help:"Only the older one of its two secrets."`
	Folder folderFlags `embed:""`
}

// Run removes a secret or the app. The removed part may be invalid. The rest must be valid, since a server ignores an
// invalid file and keeps the previous state.
func (c *appRevokeCmd) Run(ctx context.Context, io streams) error {
	id, err := parseApp(c.App)
	if err != nil {
		return err
	}
	f, err := c.Folder.openAnyhow(io)
	if err != nil {
		return err
	}
	var what string
	err = f.Change(ctx, id.Tenant, func(text []byte) (out []byte, err error) {
		t, problems := configs.ParseTenantAnyhow(f.File(id.Tenant), text, f.Config, tenants.Inspect)
		out, what, err = c.edit(t, id, text)
		if err == nil && len(problems) > 0 {
			_, err = f.Parse(id.Tenant, out)
		}
		if err != nil && len(problems) > 0 {
			return nil, fmt.Errorf("%s is not revoked: the file is invalid, and a server keeps its previous state "+
				"until it is valid:\n%w\n\n%s",
				orElse(what, "app "+id.String()), problems, c.byHand(t, id, f.File(id.Tenant)))
		}
		return out, err
	})
	if err != nil {
		return err
	}
	if err := f.await(ctx, id.Tenant, io.err); err != nil {
		return fmt.Errorf("%s is revoked in the file alone: %w", what, err)
	}
	_, err = fmt.Fprintln(io.out, what+" is revoked")
	return err
}

// edit removes what the flags name, and returns a description of it.
func (c *appRevokeCmd) edit(t *configs.Tenant, id auth.Identity, text []byte) (out []byte, what string, err error) {
	a, err := appOf(t, id)
	if err != nil {
		return nil, "", err
	}
	if c.Secret == nil && !c.Oldest {
		out, err = configs.RemoveApp(text, id.App)
		return out, "app " + id.String(), err
	}
	hash, err := c.choose(id, a.Secrets)
	if err != nil {
		return nil, "", err
	}
	what = fmt.Sprintf("a secret of app %s", id) // unnamed if it is not a hash, since it may be the secret
	if short := shortHashes([]string{hash}); len(short) > 0 {
		what = fmt.Sprintf("secret %s of app %s", short[0], id)
	}
	out, err = configs.RemoveSecret(text, id.App, hash)
	return out, what, err
}

// byHand returns instructions to do the same without this command.
func (c *appRevokeCmd) byHand(t *configs.Tenant, id auth.Identity, file string) string {
	what, key := "the app", configs.AppKey(id.App)
	if c.Secret != nil || c.Oldest {
		what, key = "the line with its hash", key+".secrets"
	}
	where := file
	if line := t.Problem(key, "").Line; line > 0 {
		where = fmt.Sprintf("%s:%d", file, line)
	}
	return fmt.Sprintf("Mend these and try again. By hand: take %s out, at %s, and mend the rest, or the server "+
		"ignores the file. If that would take too long,\n\n    mv %s %s.off\n\ntakes the whole tenant out of service "+
		"at once, until the file is back.", what, where, file, file)
}

// choose returns the hash that the flags mean.
func (c *appRevokeCmd) choose(id auth.Identity, hashes []string) (string, error) {
	if c.Oldest {
		if len(hashes) < 2 {
			return "", fmt.Errorf("app %s has no secret beside the one in use: app rotate makes the next one first, "+
				"app revoke %s without --oldest ends the app", id, id)
		}
		return hashes[0], nil // a new one is appended
	}
	short := strings.ToLower(strings.TrimPrefix(*c.Secret, "sha256:"))
	var found []string
	for _, h := range hashes {
		if strings.HasPrefix(strings.ToLower(strings.TrimPrefix(h, "sha256:")), short) {
			found = append(found, h)
		}
	}
	if len(found) != 1 || len(short) < 4 {
		shorts := shortHashes(hashes)
		slices.Sort(shorts)
		return "", fmt.Errorf("--secret: app %s has these: %s (allowed: the beginning of one of them, 4 digits at "+
			"least)", id, orNone(strings.Join(shorts, " ")))
	}
	return found[0], nil
}
