package audit

import (
	"fmt"
	"strings"
)

// Code is the kind of an event. Its name is stable: programs that read the log may depend on it.
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

// codes is the table of all events in docs/audit.md.
var codes = [codeCount]struct{ name, meaning string }{
	ConnectionAuthenticated: {"connection.authenticated",
		"a client was authenticated as an app of a tenant; `reason` is the method: secret, certificate " +
			"(described by `detail`) or anonymous. A connection that repeats it as the same app and by the " +
			"same method causes no event"},
	ConnectionRefused: {"connection.refused",
		"the server closed a connection before it was authenticated; `reason` is refused (`detail` has the " +
			"error sent to the client), handshake_failed, login_timeout, …"},
	ConnectionRevoked: {"connection.revoked", "a connection was closed because its credentials are no longer valid"},
	AuthFailed: {"auth.failed",
		"invalid credentials were used; `reason` is secret, with the requested tenant and app if they are " +
			"valid names; certificate, for a command with a certificate of no app (described by `detail`); or " +
			"too_many, for further secrets from an address with too many failed attempts"},

	SessionCreated:   {"session.created", "a session was saved for the first time"},
	SessionDestroyed: {"session.destroyed", "an app destroyed a session"},
	SessionRegenerated: {"session.regenerated",
		"a session received a new id; `session` is the hash of the old id, `detail` that of the new one"},
	SessionExpired:     {"session.expired", "a session was removed at the end of its lifetime"},
	SessionLockTimeout: {"session.lock_timeout", "a connection waited for the lock of a session until its timeout"},
	SessionLockLost: {"session.lock_lost",
		"the lease of a lock expired and another connection took the lock: unsaved changes of the previous " +
			"holder are lost. Recorded when that holder receives the error, or closes"},

	OperationDenied: {"operation.denied",
		"an allowlist or a policy denied a command; `reason` is which of them, `detail` the reasons given " +
			"by the policy"},
	OperationUndecided: {"operation.undecided",
		"a command was refused because the policy made no decision; `reason` is timeout or failed: an " +
			"error in a rule"},
	OperationRateLimited: {"operation.rate_limited",
		"a command exceeded a rate; `reason` is the rate: app, tenant, app_bytes, tenant_bytes, address, " +
			"session_creation or unauthenticated"},
	OperationQuota: {"operation.quota",
		"a command exceeded a quota of the tenant; `reason` is the quota: sessions, bytes, waiters, " +
			"connections or memory"},

	TenantChanged: {"tenant.changed", "a tenant was added, or its settings changed; `reason` is added or changed"},
	TenantFailed: {"tenant.failed",
		"the file of a tenant is invalid; the tenant is unchanged; `detail` is the first problem"},
	TenantRemoved: {"tenant.removed", "a tenant is no longer served"},
	TenantDropped: {"tenant.dropped", "all sessions of a tenant were removed; `count` is their number"},
	AppChanged: {"app.changed",
		"an app was added, or its credentials or rights changed; `reason` is added or changed"},
	AppRemoved: {"app.removed", "an app was removed and can no longer authenticate"},

	PolicyChanged: {"policy.changed", "new policies or data are in use; `detail` is their revision"},
	PolicyFailed: {"policy.failed",
		"new policies are invalid and the previous ones remain in use; `detail` is the error"},
	PolicyDecision: {"policy.decision", "a decision of the policies; in the decision log only"},

	CertificateRenewed: {"certificate.renewed",
		"a new certificate is served; `reason` is loaded, obtained or renewed, `detail` its names and end"},
	CertificateExpiring: {"certificate.expiring", "a certificate without automatic renewal expires in a few days"},
	CertificateFailed: {"certificate.failed",
		"a certificate could not be obtained; the previous one is still served"},
	CertificateRemoved: {"certificate.removed", "a certificate is no longer served"},

	ServerStarted: {"server.started",
		"the process serves connections; `detail` has its version, the number of tenants, and the revision " +
			"of the policies"},
	ServerReloaded: {"server.reloaded",
		"the configuration was reloaded; `reason` is ok or failed, `detail` names the parts that failed"},
	ServerStopped: {"server.stopped", "the process ends; `reason` is requested or failed"},

	AuditLost: {"audit.lost",
		"`count` events before this one were lost; `detail` is the cause. This event cannot be turned off"},
}

// Codes returns all codes.
func Codes() []Code {
	all := make([]Code, 0, codeCount-1)
	for c := Code(1); c < codeCount; c++ {
		all = append(all, c)
	}
	return all
}

// String returns the name of the code, as in the log.
func (c Code) String() string {
	if c == 0 || c >= codeCount {
		return "unknown"
	}
	return codes[c].name
}

// Meaning returns a sentence that describes the event.
func (c Code) Meaning() string {
	if c == 0 || c >= codeCount {
		return ""
	}
	return codes[c].meaning
}

// ParseCode returns the code with the given name.
func ParseCode(name string) (Code, bool) {
	for _, c := range Codes() {
		if codes[c].name == name {
			return c, true
		}
	}
	return 0, false
}

// Events is a selection of events. The zero value selects all of them.
type Events struct{ off [codeCount]bool }

// Has reports whether events with this code are selected.
func (e *Events) Has(c Code) bool { return c >= codeCount || !e.off[c] }

// EventsError is an error about one item of a list of events.
type EventsError struct {
	Index   int // in the list
	Problem string
}

func (e EventsError) Error() string { return fmt.Sprintf("audit: events[%d]: %s", e.Index, e.Problem) }

// ParseEvents returns the selection that a list describes, read from left to right. An item is "all", the name of a
// code, or such a name after a "-", which removes the code. The error is an [EventsError].
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
		name, removed := strings.CutPrefix(item, "-")
		c, known := ParseCode(name)
		switch {
		case !known:
			return Events{}, EventsError{i, fmt.Sprintf(
				"unknown event %.80q (allowed: all, the code of an event, or a code with a - before it: %s)",
				item, codeNames())}
		case c == PolicyDecision:
			return Events{}, EventsError{i, fmt.Sprintf(
				"%s belongs to the decision log, which has its own sample (allowed: any other event)", c)}
		case c == AuditLost && removed:
			return Events{}, EventsError{i, fmt.Sprintf("%s cannot be turned off (allowed: any other event)", c)}
		}
		events.off[c] = removed
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
