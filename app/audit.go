package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"sessionserver/app/tenants"
	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/throttle"
	"sessionserver/session"
)

// auditing holds the audit log and the decision log. A log that the configuration leaves out is nil, and does
// nothing.
type auditing struct {
	log       *audit.Log
	decisions *audit.Decisions
	mayLose   bool // events, by audit.on_failure

	mu       sync.Mutex
	policies *opa.Engine // nil until the start is recorded
	loaded   time.Time   // of the policies recorded last
	failed   string      // recorded failure of a reload, or ""
}

// openAudit opens the logs that cfg names. The observers count what is written to them.
func openAudit(cfg configs.Audit, log *slog.Logger, recorded, decided audit.Observer) (*auditing, error) {
	events, err := audit.ParseEvents(cfg.Events)
	if err != nil {
		return nil, err
	}
	peers := slog.New(throttle.NewHandler(log.Handler())) // a peer can cause any number of events, and so of failures
	opts := audit.Options{
		Output: cfg.Output, Events: events, Sync: cfg.Sync,
		MaxSize: int64(cfg.MaxSize), MaxAge: cfg.MaxAge, Keep: cfg.Keep, OnFailure: audit.OnFailure(cfg.OnFailure),
		Observer: &auditObserver{Observer: recorded, log: peers.With("audit", cfg.Output)},
	}
	a := &auditing{mayLose: opts.OnFailure == audit.Continue}
	if a.log, err = audit.Open(opts); err != nil {
		return nil, fmt.Errorf("cannot open the audit log, without which nothing is served "+
			"(audit.on_failure: continue would): %w", err)
	}
	opts.Output, opts.Sync = cfg.Decisions.Output, false
	opts.Observer = &auditObserver{Observer: decided, log: peers.With("decisions", cfg.Decisions.Output)}
	a.decisions, err = audit.OpenDecisions(audit.DecisionOptions{
		Options: opts, Sample: cfg.Decisions.Sample, ClearKeys: cfg.Decisions.Keys == "clear", Log: a.log,
	})
	if err != nil {
		return nil, errors.Join(err, a.log.Close())
	}
	return a, nil
}

// reopen opens the files again, after the operator renamed them or made room.
func (a *auditing) reopen() error { return errors.Join(a.log.Reopen(), a.decisions.Reopen()) }

// close closes the logs. Lost events are an error unless audit.on_failure allows them; lost decisions are counted.
func (a *auditing) close() error {
	_ = a.decisions.Close()
	if err := a.log.Close(); !a.mayLose {
		return err
	}
	return nil
}

// decisionLog returns the decision log for the engine, or nil.
func (a *auditing) decisionLog() policy.DecisionLog {
	if a.decisions == nil {
		return nil
	}
	return decisionLog{a.decisions}
}

// decisionLog writes decisions to their log.
type decisionLog struct{ to *audit.Decisions }

func (l decisionLog) Decided(in *policy.Input, d policy.Decision, ev policy.Evaluation, err error) {
	x := audit.Decision{
		Tenant: in.Tenant, App: in.App, Command: in.Command, Access: in.Access.String(), Key: in.Key,
		Allow: d.Allow && err == nil, Reasons: d.Reasons, Cached: ev.Cached, Took: ev.Duration,
	}
	if err != nil {
		x.Undecided, x.Reasons = true, []string{"there was no decision; see the operator's log"}
	}
	l.to.Record(x)
}

// session records the events of sessions that no client waits for.
func (a *auditing) session(e session.Event) {
	switch e.Kind {
	case session.Expired:
		a.log.Note(audit.Event{Code: audit.SessionExpired, Tenant: e.Tenant, Session: e.ID})
	case session.TenantDropped:
		a.log.Note(audit.Event{Code: audit.TenantDropped, Tenant: e.Tenant, Count: e.Count})
	}
}

// certificate records what happens to certificates.
func (a *auditing) certificate(e certs.Event) {
	out := audit.Event{Reason: e.Kind.String(), Detail: fmt.Sprintf("%s, %s", e.Source, strings.Join(e.Names, " "))}
	if !e.NotAfter.IsZero() {
		until := e.NotAfter.UTC().Format(time.RFC3339)
		out.Detail = fmt.Sprintf("%s, until %s, %s", e.Source, until, strings.Join(e.Names, " "))
	}
	switch e.Kind {
	case certs.Failed:
		out.Code, out.Reason = audit.CertificateFailed, ""
		if e.Err != nil {
			out.Detail += ": " + e.Err.Error()
		}
	case certs.Expiring:
		out.Code, out.Reason = audit.CertificateExpiring, ""
	case certs.Removed:
		out.Code, out.Reason = audit.CertificateRemoved, ""
	default:
		out.Code = audit.CertificateRenewed
	}
	a.log.Note(out)
}

// policyReloaded records that other policies are in force, or that they could not be read. A failure is recorded once,
// however often it is repeated.
func (a *auditing) policyReloaded(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.policies == nil: // recorded with the start
	case err == nil:
		a.failed = ""
		status := a.policies.Status()
		if status.Loaded.Equal(a.loaded) { // the failure is over, and the policies are the same
			return
		}
		a.loaded = status.Loaded
		a.log.Note(audit.Event{Code: audit.PolicyChanged, Detail: "revision " + status.Revision})
	case err.Error() != a.failed:
		a.failed = err.Error()
		a.log.Note(audit.Event{Code: audit.PolicyFailed, Detail: a.failed})
	}
}

// started records that the process serves. An error means that the event is required and could not be written.
func (a *auditing) started(version string, policies *opa.Engine, tenants int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	status := policies.Status()
	a.policies, a.loaded = policies, status.Loaded
	return a.log.Record(audit.Event{
		Code:   audit.ServerStarted,
		Detail: fmt.Sprintf("version %s, tenants %d, policies revision %s", version, tenants, status.Revision),
	})
}

// reloaded records a reload, with the names of what failed.
func (a *auditing) reloaded(failed []string) {
	e := audit.Event{Code: audit.ServerReloaded, Reason: "ok"}
	if len(failed) > 0 {
		e.Reason, e.Detail = "failed", "not reloaded: "+strings.Join(failed, ", ")
	}
	a.log.Note(e)
}

// stopped records the end of the process: requested, or because of err.
func (a *auditing) stopped(err error) {
	e := audit.Event{Code: audit.ServerStopped, Reason: "requested"}
	if err != nil {
		e.Reason, e.Detail = "failed", firstLine(err)
	}
	a.log.Note(e)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// tenantsChanged records changes of tenants and their apps. Both lists are sorted by name.
func (a *auditing) tenantsChanged(before, after *configs.Tenants) {
	if a.log == nil {
		return
	}
	for _, t := range after.All {
		was := before.Tenant(t.Name)
		if was == t {
			continue
		}
		now, old := asServed(t), server.Tenant{}
		nowApps, oldApps := now.Apps, []auth.App(nil)
		now.Apps = nil
		reason := "added"
		if was != nil {
			old = asServed(was)
			oldApps, old.Apps = old.Apps, nil
			reason = "changed"
		}
		if was == nil || !slices.Equal(t.Hosts, was.Hosts) || !reflect.DeepEqual(t.Policy, was.Policy) ||
			!reflect.DeepEqual(old, now) {
			a.log.Note(audit.Event{Code: audit.TenantChanged, Tenant: t.Name, Reason: reason})
		}
		a.appsChanged(t.Name, oldApps, nowApps)
	}
	for _, t := range before.All {
		if after.Tenant(t.Name) == nil {
			a.appsChanged(t.Name, asServed(t).Apps, nil)
			a.log.Note(audit.Event{Code: audit.TenantRemoved, Tenant: t.Name})
		}
	}
}

// asServed returns the tenant of a file as the server has it.
func asServed(t *configs.Tenant) server.Tenant { return tenants.ForServer([]*configs.Tenant{t})[0] }

func (a *auditing) appsChanged(tenant string, before, after []auth.App) {
	find := func(all []auth.App, name string) int {
		return slices.IndexFunc(all, func(x auth.App) bool { return x.Name == name })
	}
	for _, app := range after {
		switch i := find(before, app.Name); {
		case i < 0:
			a.log.Note(audit.Event{Code: audit.AppChanged, Tenant: tenant, App: app.Name, Reason: "added"})
		case !reflect.DeepEqual(before[i], app):
			a.log.Note(audit.Event{Code: audit.AppChanged, Tenant: tenant, App: app.Name, Reason: "changed"})
		}
	}
	for _, app := range before {
		if find(after, app.Name) < 0 {
			a.log.Note(audit.Event{Code: audit.AppRemoved, Tenant: tenant, App: app.Name})
		}
	}
}

// tenantsFailed records new problems of the tenants' files: one event a file, with its first problem.
func (a *auditing) tenantsFailed(problems configs.Problems) {
	recorded := make(map[string]bool)
	for _, p := range problems {
		if recorded[p.File] {
			continue
		}
		recorded[p.File] = true
		e := audit.Event{Code: audit.TenantFailed, Detail: p.Error()}
		name, found := strings.CutSuffix(filepath.Base(p.File), configs.TenantExt)
		if found && auth.ValidName(name) {
			e.Tenant = name
		}
		a.log.Note(e)
	}
}

// auditObserver logs the state of an audit log: one line when it cannot be written, not one for each try. Everything
// goes to the embedded observer too.
type auditObserver struct {
	audit.Observer
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	failed bool
	lost   int
}

func (o *auditObserver) Failed(err error) {
	o.Observer.Failed(err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.failed {
		o.log.Error("the log cannot be written; it is tried again", "err", err)
	}
	o.failed = true
}

func (o *auditObserver) Lost(events int) {
	o.Observer.Lost(events)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost += events
}

func (o *auditObserver) Recovered() {
	o.Observer.Recovered()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log.Info("the log can be written again", "lost", o.lost)
	o.failed, o.lost = false, 0
}

func (o *auditObserver) Troubled(err error) {
	o.Observer.Troubled(err)
	o.log.Error("a problem with the log, which continues", "err", err)
}

// inspectAudit returns mistakes in audit.events.
func inspectAudit(cfg *configs.Config) (problems configs.Problems) {
	_, err := audit.ParseEvents(cfg.Audit.Events)
	var wrong audit.EventsError
	if errors.As(err, &wrong) {
		problems = append(problems, cfg.Problem(fmt.Sprintf("audit.events[%d]", wrong.Index), "%s", wrong.Problem))
	}
	return problems
}

// isLogFile reports whether a log is written to a file.
func isLogFile(output string) bool {
	return strings.Contains(output, "/") && !strings.HasPrefix(output, "syslog:")
}

// inspectLogFile returns an error if output is a file that this user cannot write. Unlike other folders, the folder
// of a log is not created.
func inspectLogFile(output string) error {
	if !isLogFile(output) {
		return nil
	}
	folder := filepath.Dir(output)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: create it, writable for the user that the server runs as",
			folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder: name a file in a folder", folder)
	}
	info, err = os.Stat(output)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = writable(folder)
	case err != nil:
	case info.Mode().IsRegular() || info.Mode()&fs.ModeCharDevice != 0:
		err = writableFile(output)
		if info.Mode().IsRegular() {
			err = cmp.Or(err, writable(folder)) // for rotation
		}
	default:
		return fmt.Errorf("%s is neither a file nor a device: name one", output)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written by user %d, who checks; check as the user that the server runs as (%w)",
			output, os.Getuid(), err)
	}
	return nil
}
