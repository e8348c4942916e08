package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/auth"
	"sessionserver/configs"
)

type tenantCmd struct {
	Create tenantCreateCmd `cmd:"" help:"Create a tenant without apps."`
	List   tenantListCmd   `cmd:"" help:"List the tenants."`
	Show   tenantShowCmd   `cmd:"" help:"Show a tenant with its apps, without secrets."`
	Delete tenantDeleteCmd `cmd:"" help:"Delete a tenant with its apps; their connections end at once."`
}

type tenantCreateCmd struct {
	Name     string        `arg:"" help:"Its name: 1 to 64 of a-z, 0-9, - and _."`
	Allow    []string      `placeholder:"RANGE" help:"From where its apps may come: address ranges, or the word everybody (default: this machine)."`
	Lifetime time.Duration `placeholder:"TIME" help:"How long its sessions live unused, such as 1h30m (default: that of the configuration)."`
	NoStrict bool          `help:"Let clients choose the ids of sessions, as HTTP_SessionServer's save handler, Laravel and Symfony's handler_id do. CAUTION: an app that opens the id of a cookie without u then lets visitors fix sessions."`
	Folder   folderFlags   `embed:""`
}

// Run creates the tenant and prints what comes next.
func (c *tenantCreateCmd) Run(ctx context.Context, io streams) error {
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	allow, err := ranges(c.Allow)
	if err != nil {
		return err
	}
	local := len(allow) == 0
	if local {
		allow = configs.Default().Listen[0].Allow
	}
	if err := f.Create(ctx, c.Name, configs.NewTenant(allow, c.Lifetime, c.NoStrict)); err != nil {
		return err
	}
	waited := f.await(ctx, c.Name, io.err)
	fmt.Fprintf(io.out, "tenant %s: %s\n", c.Name, f.File(c.Name))
	if local {
		fmt.Fprintf(io.err, "Only this machine may connect, until allow in that file has more address ranges.\n")
	}
	if c.NoStrict || !f.Config.Session.Strict {
		fmt.Fprintf(io.err, "CAUTION: tenant %s is not strict. %s.\n", c.Name, app.ChosenIDs)
	}
	fmt.Fprintf(io.err, "Next: sessionserver app create %s/APP %s\n", c.Name, c.Folder)
	return waited
}

// String returns the flags as they were written.
func (f folderFlags) String() string {
	if !f.Dev {
		return "--config " + f.Config
	}
	if f.State != "" {
		return "--dev --state " + f.State
	}
	return "--dev"
}

// ranges parses address ranges of the command line.
func ranges(texts []string) ([]configs.Prefix, error) {
	var out []configs.Prefix
	for _, text := range texts {
		if text == "everybody" {
			out = append(out, configs.Everywhere()...)
			continue
		}
		var p configs.Prefix
		if err := p.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("--allow: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

type tenantListCmd struct {
	Folder folderFlags `embed:""`
}

// Run lists the tenants. Files with mistakes are listed too, and make the command fail.
func (c *tenantListCmd) Run(io streams) error {
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	if _, err := os.Stat(f.Path); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(io.err, "Folder %s not found: tenant create creates it.\n", f.Path)
		return nil
	}
	ts := tenants.Load(f.Config)
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TENANT\tAPPS\tALLOW\tHOSTS")
	for _, t := range ts.All {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", t.Name, len(t.Apps), few(rangeTexts(t.Allow)), few(t.Hosts))
	}
	_, missing := ts.Stale()
	for _, name := range missing {
		fmt.Fprintf(w, "%s\t?\t?\tits file is invalid\n", configs.Conceal(name))
	}
	for _, name := range ts.Drops {
		fmt.Fprintf(w, "%s\t-\t-\tdeleted; its sessions are being dropped\n", configs.Conceal(name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(ts.Problems) > 0 {
		return ts.Problems
	}
	return nil
}

func few(texts []string) string {
	const most = 4
	if more := len(texts) - most; more > 0 {
		texts = append(texts[:most:most], fmt.Sprintf("and %d more", more))
	}
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, " ")
}

func rangeTexts(ranges []configs.Prefix) []string {
	var out []string
	for _, p := range ranges {
		out = append(out, p.String())
	}
	return out
}

type tenantShowCmd struct {
	Name   string      `arg:"" help:"The tenant."`
	Folder folderFlags `embed:""`
}

// Run prints a tenant as the server uses it, with the settings that its file leaves to the configuration.
func (c *tenantShowCmd) Run(io streams) error {
	f, err := c.Folder.open()
	if err != nil {
		return err
	}
	t, err := f.Tenant(c.Name)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("tenant", "%s", t.Name)
	row("file", "%s", f.File(t.Name))
	row("allow", "%s", strings.Join(rangeTexts(t.Allow), " "))
	row("deny", "%s", orNone(strings.Join(rangeTexts(t.Deny), " ")))
	row("hosts", "%s", orNone(strings.Join(t.Hosts, " ")))
	s := t.Session
	row("lifetime", "%v unused, %s at all, %v without any value", s.Lifetime, unlimited(s.AbsoluteLifetime, 0),
		s.EmptyLifetime)
	row("locks", "lease %v, wait %v; strict ids: %t", s.LockLease, s.LockWait, s.Strict)
	row("a session", "%d keys, %v a value, %v in all", s.MaxKeys, s.MaxValue, s.MaxBytes)
	q := t.Quotas
	row("quotas", "sessions %s, bytes %s, connections %s, waiters %s, memory %s",
		unlimited(q.Sessions, 0), unlimited(q.Bytes, 0), unlimited(q.Connections, 0), unlimited(q.Waiters, 0),
		unlimited(q.Memory, 0))
	r := t.Rates
	row("rates", "tenant %s, app %s, address %s, session creation %s; beyond: %s", rateText(r.Tenant), rateText(r.App),
		rateText(r.Address), rateText(r.SessionCreation), r.OnLimit)
	row("bytes moved", "tenant %s, app %s", byteRateText(r.TenantBytes), byteRateText(r.AppBytes))
	for _, name := range t.AppNames() {
		a := t.Apps[name]
		row("app "+name, "%s; reads %s; writes %s; secrets %s; certificates %s; allow %s; deny %s", a.Role,
			strings.Join(patternTexts(a.Read), " "), strings.Join(writeTexts(a), " "),
			orNone(strings.Join(shortHashes(a.Secrets), " ")),
			orNone(strings.Join(a.Certificates, " ")), orElse(strings.Join(rangeTexts(a.Allow), " "), "as the tenant"),
			orNone(strings.Join(rangeTexts(a.Deny), " ")))
	}
	return w.Flush()
}

func orNone(text string) string { return orElse(text, "none") }

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func unlimited[T comparable](value, none T) string {
	if value == none {
		return "no limit"
	}
	return fmt.Sprint(value)
}

func rateText(r configs.Rate) string {
	if r.PerSecond == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%v/s, %d at once", r.PerSecond, r.Burst)
}

func byteRateText(r configs.ByteRate) string {
	if r.PerSecond == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%v/s, %v at once", r.PerSecond, r.Burst)
}

// shortHashes returns the hashes of secrets in a short form that distinguishes them.
func shortHashes(hashes []string) []string {
	var out []string
	for _, text := range hashes {
		if h, err := auth.ParseSecretHash(text); err == nil {
			out = append(out, h.Short())
		}
	}
	return out
}

type tenantDeleteCmd struct {
	Name         string      `arg:"" help:"The tenant."`
	DropSessions bool        `help:"Remove its sessions too: a running server does so in the background, or else the next one to run. Without it they go as they expire, and come back with a tenant of this name."`
	Folder       folderFlags `embed:""`
}

// Run deletes the tenant.
func (c *tenantDeleteCmd) Run(ctx context.Context, io streams) error {
	f, err := c.Folder.openAnyhow(io)
	if err != nil {
		return err
	}
	if err := f.Remove(ctx, c.Name, c.DropSessions); err != nil {
		return err
	}
	if err := f.await(ctx, c.Name, io.err); err != nil {
		return fmt.Errorf("the file of tenant %s is gone, and it may still be served: %w", c.Name, err)
	}
	fmt.Fprintf(io.out, "tenant %s is deleted\n", c.Name)
	if c.DropSessions {
		fmt.Fprintf(io.err, "Its sessions are being dropped until %s is gone.\n", f.Mark(c.Name))
	}
	return nil
}
