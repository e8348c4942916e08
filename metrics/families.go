package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// families holds the metrics that events change, and the descriptions of those that are collected at each scrape.
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
	reloads          *prometheus.CounterVec
	reloadSuccessful *prometheus.GaugeVec // no series before the first check, which may come late
	reloadSuccess    *prometheus.GaugeVec // likewise
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
	decisionsLost prometheus.Counter

	state states
}

// moment is the time of the last event of a kind. It has no series before the first.
type moment struct{ *prometheus.GaugeVec }

func (m moment) now() { m.WithLabelValues().SetToCurrentTime() }

// states describes the metrics that are collected at each scrape.
type states struct {
	draining, ready, memoryHeld, memoryLimit, queueWaiting                   *prometheus.Desc
	connectionsLimit, certificateExpiry                                      *prometheus.Desc
	lockWaiters, locksHeld, sessionsOpen, storedSessions, storedBytes        *prometheus.Desc
	tenants, tenantUsage, tenantQuota                                        *prometheus.Desc
	storageSize, filesystemSize, filesystemAvail                             *prometheus.Desc
	cacheHits, cacheMisses, tombstonesDropped, indexBytes, sweepLag, logLost *prometheus.Desc
}

// declare registers all families. Rules, dashboards and operators rely on the names, so a rename changes the interface.
func declare(r prometheus.Registerer) families {
	d := declarer{r}
	return families{
		buildInfo: d.gauges("build_info",
			"Version of the server, as labels. Always 1.", "version", "revision", "goversion"),

		commands: d.counters("commands_total",
			"Commands processed, by code of the reply: OK, an error code, or PEERLEFT if the client left before it.",
			"command", "code"),
		commandDuration: d.histograms("command_duration_seconds",
			"Time from reading a request until its reply is ready. Includes the lock wait of open.",
			durations(10*time.Microsecond, 30*time.Second), "command"),
		refusals: d.counters("refusals_total",
			"Refused commands and connections, by gate. The gate quota stands for quotas and limits of the server.",
			"gate"),
		rateLimited: d.counters("rate_limited_total", "Refusals because of a rate limit, by scope of the rate.",
			"scope"),
		authentications: d.counters("authentications_total", "Authenticated connections, by method.", "method"),
		authenticationFailures: d.counters("authentication_failures_total",
			"Failed authentications: invalid credentials, and certificates or anonymous identities without an app.",
			"method"),

		connections: d.gauges("connections",
			"Open connections, by TLS version. The version is none for plaintext and during a handshake.",
			"listener", "tls"),
		opened: d.counters("connections_opened_total",
			"Accepted connections, including those refused immediately.", "listener"),
		closed: d.counters("connections_closed_total",
			"Closed connections, by reason.", "listener", "reason"),
		handshakes: d.counters("tls_handshakes_total", "Successful TLS handshakes.", "listener", "version"),
		handshakeFailures: d.counters("tls_handshake_failures_total",
			"Failed TLS handshakes, by reason.", "listener", "reason"),
		handshakeDuration: d.histograms("tls_handshake_duration_seconds",
			"Duration of successful TLS handshakes, including the client's part.",
			durations(time.Millisecond, 10*time.Second), "listener"),
		certificateEvents: d.counters("certificate_events_total", "Events of the server's certificates.", "event"),

		lockWait: d.histogram("lock_wait_seconds",
			"Duration of waits that ended with the lock. A free lock counts as 0.",
			durations(time.Millisecond, time.Minute)),
		lockTimeouts: d.counter("lock_timeouts_total", "Lock waits that timed out."),
		locksLost: d.counter("locks_lost_total",
			"Locks taken from their holder, because the lease expired while another client waited or the tenant was "+
				"dropped."),
		sessionEvents: d.counters("session_events_total", "Events of sessions.", "event"),

		tenantOperations: d.counters("tenant_operations_total",
			"Commands of a tenant, by result: ok, refused by a gate or a quota, or error for any other code.",
			"tenant", "result"),
		tenantRefusals: d.counters("tenant_refusals_total", "Refusals to a tenant, by gate.", "tenant", "gate"),
		tenantEvents: d.counters("tenant_session_events_total",
			"Events of a tenant's sessions and locks.", "tenant", "event"),
		tenantLockWait: d.counters("tenant_lock_wait_seconds_total",
			"Time that a tenant's connections spent in lock waits, successful or not.", "tenant"),

		policyDecisions: d.counters("policy_decisions_total",
			"Policy decisions, by outcome. The label cached is true for decisions from the cache.",
			"outcome", "cached"),
		policyEvaluation: d.histogram("policy_evaluation_duration_seconds",
			"Duration of policy decisions that were not in the cache.",
			durations(10*time.Microsecond, time.Second)),
		reloads: d.counters("reloads_total",
			"Checks of what is reloaded while the server runs, including the first.", "what", "result"),
		reloadSuccessful: d.gauges("reload_last_successful",
			"1 if the last check succeeded, 0 if the previous content stays in force.", "what"),
		reloadSuccess: d.gauges("reload_last_success_timestamp_seconds",
			"Time of the last successful check.", "what"),
		tenantProblems: d.gauge("tenant_files_problems", "Current problems in tenant files."),

		storageDuration: d.histograms("storage_operation_duration_seconds", "Duration of storage operations.",
			durations(time.Microsecond, 10*time.Second), "operation"),
		storageErrors: d.counters("storage_errors_total",
			"Failed storage operations. An absent session is not a failure.", "operation"),
		storageSync: d.histogram("storage_sync_duration_seconds",
			"Duration of fsync, which makes written data durable.", durations(50*time.Microsecond, 5*time.Second)),
		sweepRemoved: d.counter("sweep_removed_total", "Expired sessions removed from the storage."),
		sweepErrors:  d.counter("sweep_errors_total", "Failed sweeps of expired sessions."),
		sweepLastSuccess: moment{d.gauges("sweep_last_success_timestamp_seconds",
			"Time of the last successful sweep.")},

		auditEvents:   d.counters("audit_events_total", "Events written to the audit log.", "event"),
		auditFailures: d.counter("audit_failures_total", "Failed writes and rotations of the audit log."),
		auditLost:     d.counter("audit_lost_total", "Events missing from the audit log."),
		auditFailing:  d.gauge("audit_failing", "1 while the audit log cannot be written."),
		auditWrite: d.histogram("audit_write_duration_seconds",
			"Duration of writes to the audit log. A write can contain several events, and includes fsync if "+
				"configured.",
			durations(10*time.Microsecond, 5*time.Second)),

		decisionsLost: d.counter("decisions_lost_total", "Decisions missing from a separate decision log."),

		state: states{
			draining: describe("draining", "1 while the server drains and accepts no new connections."),
			ready:    describe("ready", "1 if the server is ready, as /readyz reports."),
			memoryHeld: describe("memory_held_bytes",
				"Memory held by requests, replies and open sessions of connections, in steps of 4 KiB each."),
			memoryLimit: describe("memory_limit_bytes",
				"Limit of the memory held by requests, replies and open sessions (limits.memory)."),
			queueWaiting: describe("fair_queue_waiting",
				"Connections in the fair queue, for a processor or for a save.", "kind"),
			connectionsLimit: describe("connections_limit",
				"Limit of open connections: limits.connections, or as many as file descriptors suffice for."),
			certificateExpiry: describe("certificate_expiry_timestamp_seconds",
				"Expiry of a served certificate. The label name is its first name.", "name", "source"),
			lockWaiters: describe("lock_waiters", "Connections that wait for a lock."),
			locksHeld: describe("locks_held",
				"Locks held by connections. Each holder of a shared lock counts."),
			sessionsOpen: describe("sessions_open", "Sessions open on connections."),
			storedSessions: describe("stored_sessions",
				"Stored sessions of all tenants, including expired ones not yet swept."),
			storedBytes: describe("stored_bytes", "Size of the stored sessions of all tenants."),
			tenants:     describe("tenants", "Tenants served."),
			tenantUsage: describe("tenant_usage", "Usage of a resource by a tenant.", "tenant", "resource"),
			tenantQuota: describe("tenant_quota",
				"Quota of a resource for a tenant. Absent without a limit.", "tenant", "resource"),
			storageSize:    describe("storage_size_bytes", "Size of the storage on disk."),
			filesystemSize: describe("storage_filesystem_size_bytes", "Size of the file system of the storage."),
			filesystemAvail: describe("storage_filesystem_avail_bytes",
				"Space available to the server on the file system of the storage."),
			cacheHits:   describe("storage_cache_hits_total", "Records that the storage driver found in memory."),
			cacheMisses: describe("storage_cache_misses_total", "Records that the storage driver read from the disk."),
			tombstonesDropped: describe("storage_tombstones_dropped_total",
				"Tombstones removed before they had expired, because their tenant had more than four a session."),
			indexBytes: describe("storage_index_bytes", "Memory of the index of stored sessions, in bytes."),
			sweepLag: describe("sweep_lag_seconds",
				"Age of the oldest expired session not yet swept. 0 if there is none."),
			logLost: describe("log_lost_total",
				"Log lines lost because standard error had no reader, or a slow one."),
		},
	}
}

// prefix begins every name, except those of the Go runtime and the process.
const prefix = "sessionserver_"

// declarer creates families and registers them. It panics on an invalid or duplicate one.
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

// histograms returns histograms with classic buckets, and with native ones for a Prometheus that requests them. Each
// native bucket is a tenth wide, and there are 160 at most.
func (d declarer) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	d.to.MustRegister(v)
	return v
}

func (d declarer) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return d.histograms(name, help, buckets).WithLabelValues().(prometheus.Histogram)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// durations returns buckets from least to most, in steps of 1, 2.5 and 5.
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
