package audit

import (
	"fmt"
	"strings"
)

// Code says what kind of event it is. Its name is stable: programs that read the log may rely on it.
type Code uint8

const (
	ConnectionAuthenticated Code = 1 + iota
	ConnectionRefused
	ConnectionRevoked
	AuthFailed

	SessionCreated
	SessionDestroyed
	SessionRegenerated
	SessionExpired
	SessionLockTimeout
	SessionLockLost

	OperationDenied
	OperationUndecided
	OperationRateLimited
	OperationQuota

	TenantChanged
	TenantFailed
	TenantRemoved
	TenantDropped
	AppChanged
	AppRemoved

	PolicyChanged
	PolicyFailed
	PolicyDecision

	CertificateRenewed
	CertificateExpiring
	CertificateFailed
	CertificateRemoved

	ServerStarted
	ServerReloaded
	ServerStopped

	AuditLost

	codeCount
)

// codes is the table of all events, as docs/audit.md shows it.
var codes = [codeCount]struct{ name, meaning string }{
	ConnectionAuthenticated: {"connection.authenticated", "a client has become an app of a tenant; `reason` is how: secret, certificate, which `detail` describes, or anonymous. If a " +
		"connection does so again as the same app and in the same way, that is no event"},
	ConnectionRefused: {"connection.refused", "the server closed a connection before it was anybody's; `reason` says why: refused (`detail` has what the client was told), handshake_failed, login_timeout, …"},
	ConnectionRevoked: {"connection.revoked", "a connection was closed because its credentials are not good any more"},
	AuthFailed: {"auth.failed", "somebody gave credentials that are not good; `reason` is secret, with the tenant and app that were tried, if they are names; " +
		"certificate, for a command by one that is no app's, which `detail` describes; or too_many, for further secrets from an address that has tried too often"},

	SessionCreated:     {"session.created", "a session was saved for the first time"},
	SessionDestroyed:   {"session.destroyed", "an app has ended a session"},
	SessionRegenerated: {"session.regenerated", "a session got a new id; `session` is the old one's hash, `detail` has the new one's"},
	SessionExpired:     {"session.expired", "a session was removed after its lifetime"},
	SessionLockTimeout: {"session.lock_timeout", "somebody waited for a session's lock and gave up"},
	SessionLockLost:    {"session.lock_lost", "a lock's lease was over and the next one took it: what its holder had not saved is gone. Written when the holder hears of it, or leaves"},

	OperationDenied: {"operation.denied", "a command was refused by an allowlist or a policy; `reason` is which, `detail` the policy's reasons"},
	OperationUndecided: {"operation.undecided", "a command was refused because the policy came to no decision; " +
		"`reason` is timeout or failed: a mistake in a rule"},
	OperationRateLimited: {"operation.rate_limited", "a command was refused because there were too many; `reason` is whose rate: app, tenant, app_bytes, tenant_bytes, address, session_creation or unauthenticated"},
	OperationQuota:       {"operation.quota", "a command was refused because the tenant has too much; `reason` is of what: sessions, bytes, waiters, connections or memory"},

	TenantChanged: {"tenant.changed", "a tenant is new, or its settings are; `reason` is added or changed"},
	TenantFailed:  {"tenant.failed", "a tenant's file is wrong and the tenant stays as it was; `detail` is the first problem"},
	TenantRemoved: {"tenant.removed", "a tenant is not served any more"},
	TenantDropped: {"tenant.dropped", "all sessions of a tenant were removed; `count` is how many"},
	AppChanged:    {"app.changed", "an app is new, or its credentials or rights are others; `reason` is added or changed"},
	AppRemoved:    {"app.removed", "an app cannot come in any more"},

	PolicyChanged:  {"policy.changed", "other policies or data decide from now on; `detail` is their revision"},
	PolicyFailed:   {"policy.failed", "new policies could not be taken, and those before decide further; `detail` says why"},
	PolicyDecision: {"policy.decision", "what the policies decided, in the decision log only"},

	CertificateRenewed:  {"certificate.renewed", "a certificate is served from now on; `reason` is loaded, obtained or renewed, `detail` its names and end"},
	CertificateExpiring: {"certificate.expiring", "a certificate that nobody renews has few days left"},
	CertificateFailed:   {"certificate.failed", "a certificate could not be had; what was served before still is"},
	CertificateRemoved:  {"certificate.removed", "a certificate is not served any more"},

	ServerStarted:  {"server.started", "the process serves; `detail` has its version, how many tenants it knows, and the revision of the policies"},
	ServerReloaded: {"server.reloaded", "everything was read anew; `reason` is ok or failed, `detail` names what failed"},
	ServerStopped:  {"server.stopped", "the process ends; `reason` is asked or failed"},

	AuditLost: {"audit.lost", "`count` events before this one were lost, because of what `detail` says; it cannot be turned off"},
}

// Codes returns all codes.
func Codes() []Code {
	all := make([]Code, 0, codeCount-1)
	for c := Code(1); c < codeCount; c++ {
		all = append(all, c)
	}
	return all
}

// String is the code as it stands in the log.
func (c Code) String() string {
	if c == 0 || c >= codeCount {
		return "unknown"
	}
	return codes[c].name
}

// Meaning says what has happened, in a sentence.
func (c Code) Meaning() string {
	if c == 0 || c >= codeCount {
		return ""
	}
	return codes[c].meaning
}

// ParseCode finds the code with that name.
func ParseCode(name string) (Code, bool) {
	for _, c := range Codes() {
		if codes[c].name == name {
			return c, true
		}
	}
	return 0, false
}

// Events says which events are recorded. The zero value is all of them.
type Events struct{ off [codeCount]bool }

// Has reports whether events with this code are recorded.
func (e *Events) Has(c Code) bool { return c >= codeCount || !e.off[c] }

// EventsError is a place in a list of events with which something is wrong.
type EventsError struct {
	Index   int // in the list
	Problem string
}

func (e EventsError) Error() string { return fmt.Sprintf("audit: events[%d]: %s", e.Index, e.Problem) }

// ParseEvents reads a list from left to right: "all", the name of a code, or one with a - before it, which takes it out again. The error is an
// [EventsError].
func ParseEvents(list []string) (Events, error) {
	var events Events
	for i := range events.off {
		events.off[i] = Code(i) != AuditLost
	}
	for i, item := range list {
		if item == "all" {
			events = Events{}
			continue
		}
		name, out := strings.CutPrefix(item, "-")
		c, known := ParseCode(name)
		switch {
		case !known:
			return Events{}, EventsError{i, fmt.Sprintf("%.80q (allowed: all, or the code of an event, or one with a - before it: %s)", item, codeNames())}
		case c == PolicyDecision:
			return Events{}, EventsError{i, fmt.Sprintf("%s is for the decision log, which has a sample of its own (allowed: any other event)", c)}
		case c == AuditLost && out:
			return Events{}, EventsError{i, fmt.Sprintf("%s cannot be turned off (allowed: any other event)", c)}
		}
		events.off[c] = out
	}
	return events, nil
}

func codeNames() string {
	var names []string
	for _, c := range Codes() {
		if c != PolicyDecision {
			names = append(names, codes[c].name)
		}
	}
	return strings.Join(names, ", ")
}
