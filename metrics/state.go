package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/certs"
	"sessionserver/server"
	"sessionserver/session"
)

// Sources provide the state that is collected at each scrape. The families of a nil source have no series.
type Sources struct {
	Server       *server.Server
	Sessions     *session.Manager
	Certificates []*certs.Certs
	Storage      func() StorageState
	Ready        func() bool
	LogLost      func() int64 // lines missing from the log
}

// StorageState is the state of the storage. A number that a driver cannot report is negative.
type StorageState struct {
	SizeBytes                                 int64 // on disk
	FilesystemSizeBytes, FilesystemAvailBytes int64
	CacheHits, CacheMisses                    int64
	TombstonesDropped                         int64 // before they had expired
	IndexBytes                                int64 // memory of the index
	SweepLag                                  time.Duration
}

// Watch sets the sources of the state for all further scrapes.
func (m *Metrics) Watch(s Sources) {
	m.sources.Store(&s)
	m.updateTenants()
}

// usageTimeout limits the time in which the storage reports the usage of tenants.
const usageTimeout = 2 * time.Second

// state collects the state at each scrape.
type state struct{ m *Metrics }

func (s state) Describe(out chan<- *prometheus.Desc) {
	d := &s.m.state
	for _, desc := range []*prometheus.Desc{
		d.draining, d.ready, d.memoryHeld, d.memoryLimit, d.queueWaiting, d.connectionsLimit, d.certificateExpiry,
		d.lockWaiters, d.locksHeld, d.sessionsOpen, d.storedSessions, d.storedBytes, d.tenants, d.tenantUsage,
		d.tenantQuota, d.storageSize, d.filesystemSize, d.filesystemAvail, d.cacheHits, d.cacheMisses,
		d.tombstonesDropped, d.indexBytes, d.sweepLag, d.logLost,
	} {
		out <- desc
	}
}

func (s state) Collect(metrics chan<- prometheus.Metric) {
	sources := s.m.sources.Load()
	if sources == nil {
		return
	}
	out, d := metricWriter{metrics}, &s.m.state
	if sources.Ready != nil {
		out.gauge(d.ready, number(sources.Ready()))
	}
	if sources.LogLost != nil {
		out.known(d.logLost, prometheus.CounterValue, sources.LogLost())
	}
	if sources.Server != nil {
		st := sources.Server.Stats()
		out.gauge(d.draining, number(st.Draining))
		out.gauge(d.memoryHeld, float64(st.Memory))
		out.gauge(d.memoryLimit, float64(st.MemoryMax))
		out.gauge(d.queueWaiting, float64(st.WaitingToCompute), "processor")
		out.gauge(d.queueWaiting, float64(st.WaitingToSave), "save")
		out.gauge(d.connectionsLimit, float64(st.ConnectionsMax))
		out.gauge(d.tenants, float64(st.Tenants))
	}
	if sources.Sessions != nil {
		st := sources.Sessions.Stats()
		out.gauge(d.lockWaiters, float64(st.Waiting))
		out.gauge(d.locksHeld, float64(st.Held))
		out.gauge(d.sessionsOpen, float64(st.Open))
	}
	if sources.Server != nil && sources.Sessions != nil {
		s.usage(out, sources)
	}
	var expiries []certs.Expiry
	for _, c := range sources.Certificates {
		expiries = append(expiries, c.Expiries()...)
	}
	s.certificates(out, expiries)
	if sources.Storage != nil {
		st := sources.Storage()
		out.known(d.storageSize, prometheus.GaugeValue, st.SizeBytes)
		out.known(d.filesystemSize, prometheus.GaugeValue, st.FilesystemSizeBytes)
		out.known(d.filesystemAvail, prometheus.GaugeValue, st.FilesystemAvailBytes)
		out.known(d.cacheHits, prometheus.CounterValue, st.CacheHits)
		out.known(d.cacheMisses, prometheus.CounterValue, st.CacheMisses)
		out.known(d.tombstonesDropped, prometheus.CounterValue, st.TombstonesDropped)
		out.known(d.indexBytes, prometheus.GaugeValue, st.IndexBytes)
		if st.SweepLag >= 0 {
			out.gauge(d.sweepLag, st.SweepLag.Seconds())
		}
	}
}

// usage reports the usage and the quotas of tenants. Sessions and bytes are absent if the store does not count them, or
// does not return them in time.
func (s state) usage(out metricWriter, sources *Sources) {
	ctx, cancel := context.WithTimeout(context.Background(), usageTimeout)
	defer cancel()
	d := &s.m.state
	var all tenantUsage
	stored := true
	for _, t := range sources.Server.TenantStats() {
		used, err := sources.Sessions.Usage(ctx, t.Name)
		stored = stored && err == nil
		u := tenantUsage{used.Sessions, used.Bytes, t.Connections, used.Waiters, t.Memory}
		all.add(u)
		if s.m.mode == Full {
			out.usage(d.tenantUsage, t.Name, u, err == nil)
			quota := tenantUsage{t.SessionsMax, t.BytesMax, t.ConnectionsMax, t.WaitersMax, t.MemoryMax}
			out.usage(d.tenantQuota, t.Name, quota.limits(), true)
		}
	}
	if s.m.mode == Totals {
		out.usage(d.tenantUsage, allTenants, all, stored)
	}
	if stored {
		out.gauge(d.storedSessions, float64(all[0]))
		out.gauge(d.storedBytes, float64(all[1]))
	}
}

// tenantUsage has a number for each of resources, which are limited by quotas.
type tenantUsage [5]int64

var resources = [len(tenantUsage{})]string{"sessions", "bytes", "connections", "waiters", "memory"}

func (u *tenantUsage) add(o tenantUsage) {
	for i := range u {
		u[i] += o[i]
	}
}

// limits returns the usage with -1 for each 0, which means unlimited.
func (u tenantUsage) limits() tenantUsage {
	for i := range u {
		if u[i] == 0 {
			u[i] = -1
		}
	}
	return u
}

// metricWriter sends the metrics of one scrape.
type metricWriter struct{ metrics chan<- prometheus.Metric }

func (w metricWriter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	w.metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// known sends v unless it is negative.
func (w metricWriter) known(d *prometheus.Desc, kind prometheus.ValueType, v int64) {
	if v >= 0 {
		w.metrics <- prometheus.MustNewConstMetric(d, kind, float64(v))
	}
}

// usage sends the numbers that are not negative. Sessions and bytes are sent only if stored is set.
func (w metricWriter) usage(d *prometheus.Desc, name string, u tenantUsage, stored bool) {
	for i, v := range u {
		if v >= 0 && (stored || i >= 2) {
			w.gauge(d, float64(v), name, resources[i])
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
