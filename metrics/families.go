package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// families is all that is counted as it happens, and what is asked for at each scrape.
type families struct {
	buildInfo *prometheus.GaugeVec

	commands               *prometheus.CounterVec
	commandDuration        *prometheus.HistogramVec
	refusals               *prometheus.CounterVec
	rateLimited            *prometheus.CounterVec
	authentications        *prometheus.CounterVec
	authenticationFailures *prometheus.CounterVec

	connections       *prometheus.GaugeVec
	opened            *prometheus.CounterVec
	closed            *prometheus.CounterVec
	handshakes        *prometheus.CounterVec
	handshakeFailures *prometheus.CounterVec
	handshakeDuration *prometheus.HistogramVec
	certificateEvents *prometheus.CounterVec

	lockWait      prometheus.Histogram
	lockTimeouts  prometheus.Counter
	locksLost     prometheus.Counter
	sessionEvents *prometheus.CounterVec

	tenantOperations *prometheus.CounterVec
	tenantRefusals   *prometheus.CounterVec
	tenantEvents     *prometheus.CounterVec
	tenantLockWait   *prometheus.CounterVec

	policyDecisions  *prometheus.CounterVec
	policyEvaluation prometheus.Histogram
	policyReloads    reloads
	configReloads    reloads
	tenantReloads    reloads
	tenantProblems   prometheus.Gauge

	storageDuration  *prometheus.HistogramVec
	storageErrors    *prometheus.CounterVec
	storageSync      prometheus.Histogram
	sweepRemoved     prometheus.Counter
	sweepErrors      prometheus.Counter
	sweepLastSuccess moment

	auditEvents   *prometheus.CounterVec
	auditFailures prometheus.Counter
	auditLost     prometheus.Counter
	auditFailing  prometheus.Gauge
	auditWrite    prometheus.Histogram

	state states
}

// reloads is how something fares that is read again now and then.
type reloads struct {
	ok, failed  prometheus.Counter
	successful  verdict
	lastSuccess moment
}

// verdict is whether the last look at something was good; it is not there before the first one, which may be long in coming and is no failure.
type verdict struct{ *prometheus.GaugeVec }

func (v verdict) set(good bool) { v.WithLabelValues().Set(number(good)) }

// moment is when something last happened; it is not there before.
type moment struct{ *prometheus.GaugeVec }

func (m moment) now() { m.WithLabelValues().SetToCurrentTime() }

// states are what is asked for at each scrape.
type states struct {
	draining, ready, memoryHeld, memoryLimit, turnsWaiting            *prometheus.Desc
	connectionsLimit, certificateExpiry                               *prometheus.Desc
	lockWaiters, locksHeld, sessionsOpen, storedSessions, storedBytes *prometheus.Desc
	tenants, tenantUsage, tenantQuota                                 *prometheus.Desc
	storageSize, filesystemSize, filesystemAvail                      *prometheus.Desc
	cacheHits, cacheMisses, sweepLag                                  *prometheus.Desc
}

// declare declares everything. The names are what rules, dashboards and operators rely on: one that changes is a change of the interface.
func declare(r prometheus.Registerer) families {
	d := declarer{r}
	return families{
		buildInfo: d.gauges("build_info", "What runs: always 1, the labels tell.", "version", "revision", "goversion"),

		commands: d.counters("commands_total", "Commands that were answered, by the code of the answer: OK, an error code, or PEERLEFT if the client did not wait for one.",
			"command", "code"),
		commandDuration: d.histograms("command_duration_seconds", "Time from a request being read to its answer being ready. An open includes its wait for the lock.",
			durations(10*time.Microsecond, 30*time.Second), "command"),
		refusals: d.counters("refusals_total", "What was refused, by the gate that has refused it; quota is what there was no room for.", "gate"),
		rateLimited: d.counters("rate_limited_total", "What was refused because there was too much of it in a short time, by whose rate it was.",
			"scope"),
		authentications: d.counters("authentications_total", "Connections that have shown who they are.", "method"),
		authenticationFailures: d.counters("authentication_failures_total", "Credentials that were not good, or certificates and anonymous identities that are nobody's.",
			"method"),

		connections:       d.gauges("connections", "Connections that are open; tls is the version, none for plaintext and before the handshake is over.", "listener", "tls"),
		opened:            d.counters("connections_opened_total", "Connections that were accepted, those refused at once included.", "listener"),
		closed:            d.counters("connections_closed_total", "Connections that have ended, by why.", "listener", "reason"),
		handshakes:        d.counters("tls_handshakes_total", "TLS handshakes that were good.", "listener", "version"),
		handshakeFailures: d.counters("tls_handshake_failures_total", "TLS handshakes that came to nothing, by why.", "listener", "reason"),
		handshakeDuration: d.histograms("tls_handshake_duration_seconds", "Time that good TLS handshakes took, the client's part included.",
			durations(time.Millisecond, 10*time.Second), "listener"),
		certificateEvents: d.counters("certificate_events_total", "What happened to certificates of the server.", "event"),

		lockWait: d.histogram("lock_wait_seconds", "Time waited for locks that were got; 0 for those that were free.",
			durations(time.Millisecond, time.Minute)),
		lockTimeouts:  d.counter("lock_timeouts_total", "Waits for a lock that were given up."),
		locksLost:     d.counter("locks_lost_total", "Locks that were taken away, because their lease was over and another waited, or the tenant was dropped."),
		sessionEvents: d.counters("session_events_total", "What happened to sessions.", "event"),

		tenantOperations: d.counters("tenant_operations_total", "Commands of a tenant: ok, refused by a gate or a quota, or ended by any other error.",
			"tenant", "result"),
		tenantRefusals: d.counters("tenant_refusals_total", "What was refused to a tenant, by gate.", "tenant", "gate"),
		tenantEvents:   d.counters("tenant_session_events_total", "What happened to a tenant's sessions and locks.", "tenant", "event"),
		tenantLockWait: d.counters("tenant_lock_wait_seconds_total", "Time that a tenant's connections have waited for locks, got or not.", "tenant"),

		policyDecisions: d.counters("policy_decisions_total", "Decisions of the policy, and whether they were remembered from before.", "outcome", "cached"),
		policyEvaluation: d.histogram("policy_evaluation_duration_seconds", "Time that decisions took which were not remembered.",
			durations(10*time.Microsecond, time.Second)),
		policyReloads:  d.reloads("policy", "Looks at the source of the policies that found something new, or failed", "policies"),
		configReloads:  d.reloads("config", "Reloads of the configuration file", "configuration"),
		tenantReloads:  d.reloads("tenant_files", "Looks at the files of tenants that found something new, or failed", "files of tenants"),
		tenantProblems: d.gauge("tenant_files_problems", "What is wrong with the files of tenants now."),

		storageDuration: d.histograms("storage_operation_duration_seconds", "Time that operations on the storage took.",
			durations(time.Microsecond, 10*time.Second), "operation"),
		storageErrors:    d.counters("storage_errors_total", "Operations on the storage that failed; not to find a session is no failure.", "operation"),
		storageSync:      d.histogram("storage_sync_duration_seconds", "Time that it took to make written data durable (fsync).", durations(50*time.Microsecond, 5*time.Second)),
		sweepRemoved:     d.counter("sweep_removed_total", "Expired sessions that were removed from the storage."),
		sweepErrors:      d.counter("sweep_errors_total", "Rounds of removing expired sessions that failed."),
		sweepLastSuccess: moment{d.gauges("sweep_last_success_timestamp_seconds", "When a round of removing expired sessions last succeeded.")},

		auditEvents:   d.counters("audit_events_total", "Events that are in the audit log.", "event"),
		auditFailures: d.counter("audit_failures_total", "Attempts to write to the audit log, or to rotate it, that failed."),
		auditLost:     d.counter("audit_lost_total", "Events that are missing from the audit log."),
		auditFailing:  d.gauge("audit_failing", "1 while the audit log cannot be written."),
		auditWrite: d.histogram("audit_write_duration_seconds", "Time that it took to write events to the audit log, those together that came together, durably if so configured.",
			durations(10*time.Microsecond, 5*time.Second)),

		state: states{
			draining:          describe("draining", "1 while the server is about to stop and takes no new connections."),
			ready:             describe("ready", "1 if the server can serve: /readyz says the same."),
			memoryHeld:        describe("memory_held_bytes", "What requests, replies and open sessions of connections hold, where it is more than 64 KiB."),
			memoryLimit:       describe("memory_limit_bytes", "What requests, replies and open sessions of connections may hold (limits.memory)."),
			turnsWaiting:      describe("turns_waiting", "Connections that wait for their turn: on a processor, or to save.", "kind"),
			connectionsLimit:  describe("connections_limit", "How many connections there may be (limits.connections)."),
			certificateExpiry: describe("certificate_expiry_timestamp_seconds", "When a certificate that is served expires; name is the first that it has.", "name", "source"),
			lockWaiters:       describe("lock_waiters", "Connections that wait for locks."),
			locksHeld:         describe("locks_held", "Locks that connections have; each of those who share one counts."),
			sessionsOpen:      describe("sessions_open", "Sessions that are open on connections."),
			storedSessions:    describe("stored_sessions", "Sessions of all tenants that are stored, those included that have expired and are not removed."),
			storedBytes:       describe("stored_bytes", "Bytes of the sessions of all tenants that are stored."),
			tenants:           describe("tenants", "Tenants that are served."),
			tenantUsage:       describe("tenant_usage", "What a tenant has now of what quotas are about.", "tenant", "resource"),
			tenantQuota:       describe("tenant_quota", "What a tenant may have; absent where there is no limit.", "tenant", "resource"),
			storageSize:       describe("storage_size_bytes", "What the storage takes up on disk."),
			filesystemSize:    describe("storage_filesystem_size_bytes", "Size of the file system that the storage is on."),
			filesystemAvail:   describe("storage_filesystem_avail_bytes", "What is free for the server on the file system that the storage is on."),
			cacheHits:         describe("storage_cache_hits_total", "Records that were found in the cache before the storage."),
			cacheMisses:       describe("storage_cache_misses_total", "Records that were not found in the cache before the storage."),
			sweepLag:          describe("sweep_lag_seconds", "For how long that session has expired already that expired first and is not removed; 0 if there is none."),
		},
	}
}

// prefix is what every name begins with, but those of the Go runtime and the process.
const prefix = "sessionserver_"

// declarer makes families and registers them. It panics on what is not right.
type declarer struct{ to prometheus.Registerer }

func (d declarer) counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	d.to.MustRegister(v)
	return v
}

func (d declarer) counter(name, help string) prometheus.Counter {
	return d.counters(name, help).WithLabelValues()
}

func (d declarer) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
	d.to.MustRegister(v)
	return v
}

func (d declarer) gauge(name, help string) prometheus.Gauge {
	return d.gauges(name, help).WithLabelValues()
}

// histograms have buckets for everybody, and native ones for a Prometheus that asks for them: a tenth wide each, 160 at most.
func (d declarer) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	d.to.MustRegister(v)
	return v
}

func (d declarer) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return d.histograms(name, help, buckets).WithLabelValues().(prometheus.Histogram)
}

func (d declarer) reloads(name, help, what string) reloads {
	all := d.counters(name+"_reloads_total", help+".", "result")
	return reloads{
		ok: all.WithLabelValues("ok"), failed: all.WithLabelValues("failed"),
		successful:  verdict{d.gauges(name+"_last_reload_successful", "1 if the last look at the "+what+" found nothing wrong.")},
		lastSuccess: moment{d.gauges(name+"_last_reload_success_timestamp_seconds", "When a look at the "+what+" last found nothing wrong.")},
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// durations are buckets from least to most, in steps of 1, 2.5 and 5.
func durations(least, most time.Duration) []float64 {
	var all []float64
	for decade := time.Microsecond; decade <= most; decade *= 10 {
		for _, step := range []time.Duration{decade, decade * 5 / 2, decade * 5} {
			if step >= least && step <= most {
				all = append(all, step.Seconds())
			}
		}
	}
	if last := most.Seconds(); all[len(all)-1] < last {
		all = append(all, last)
	}
	return all
}
