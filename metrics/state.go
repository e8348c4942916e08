package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/certs"
	"sessionserver/server"
	"sessionserver/session"
)

// Sources are asked at each scrape. What is nil is not there: its families have no series.
type Sources struct {
	Server       *server.Server
	Sessions     *session.Manager
	Certificates []*certs.Certs
	Storage      func() StorageState
	Ready        func() bool
	LogLost      func() int64 // lines that are missing from the log
}

// StorageState is how the storage is. What a driver does not know is negative.
type StorageState struct {
	SizeBytes                                 int64 // on disk
	FilesystemSizeBytes, FilesystemAvailBytes int64
	CacheHits, CacheMisses                    int64
	SweepLag                                  time.Duration
}

// Watch says who is to be asked at each scrape, from now on.
func (m *Metrics) Watch(s Sources) {
	m.sources.Store(&s)
	m.knowTenants()
}

// scrapeTime is how long the storage may take to tell what tenants have.
const scrapeTime = 2 * time.Second

// state tells what is asked for at each scrape.
type state struct{ m *Metrics }

func (s state) Describe(to chan<- *prometheus.Desc) {
	d := &s.m.state
	for _, desc := range []*prometheus.Desc{
		d.draining, d.ready, d.memoryHeld, d.memoryLimit, d.turnsWaiting, d.connectionsLimit, d.certificateExpiry, d.lockWaiters, d.locksHeld,
		d.sessionsOpen, d.storedSessions, d.storedBytes, d.tenants, d.tenantUsage, d.tenantQuota, d.storageSize, d.filesystemSize, d.filesystemAvail,
		d.cacheHits, d.cacheMisses, d.sweepLag, d.logLost,
	} {
		to <- desc
	}
}

func (s state) Collect(to chan<- prometheus.Metric) {
	from := s.m.sources.Load()
	if from == nil {
		return
	}
	out, d := told{to}, &s.m.state
	if from.Ready != nil {
		out.gauge(d.ready, number(from.Ready()))
	}
	if from.LogLost != nil {
		out.known(d.logLost, prometheus.CounterValue, from.LogLost())
	}
	if from.Server != nil {
		st := from.Server.Stats()
		out.gauge(d.draining, number(st.Draining))
		out.gauge(d.memoryHeld, float64(st.Memory))
		out.gauge(d.memoryLimit, float64(st.MemoryMax))
		out.gauge(d.turnsWaiting, float64(st.WaitingToCompute), "processor")
		out.gauge(d.turnsWaiting, float64(st.WaitingToSave), "save")
		out.gauge(d.connectionsLimit, float64(st.ConnectionsMax))
		out.gauge(d.tenants, float64(st.Tenants))
	}
	if from.Sessions != nil {
		st := from.Sessions.Stats()
		out.gauge(d.lockWaiters, float64(st.Waiting))
		out.gauge(d.locksHeld, float64(st.Held))
		out.gauge(d.sessionsOpen, float64(st.Open))
	}
	if from.Server != nil && from.Sessions != nil {
		s.usage(out, from)
	}
	var expiries []certs.Expiry
	for _, c := range from.Certificates {
		expiries = append(expiries, c.Expiries()...)
	}
	s.certificates(out, expiries)
	if from.Storage != nil {
		st := from.Storage()
		out.known(d.storageSize, prometheus.GaugeValue, st.SizeBytes)
		out.known(d.filesystemSize, prometheus.GaugeValue, st.FilesystemSizeBytes)
		out.known(d.filesystemAvail, prometheus.GaugeValue, st.FilesystemAvailBytes)
		out.known(d.cacheHits, prometheus.CounterValue, st.CacheHits)
		out.known(d.cacheMisses, prometheus.CounterValue, st.CacheMisses)
		if st.SweepLag >= 0 {
			out.gauge(d.sweepLag, st.SweepLag.Seconds())
		}
	}
}

// usage tells what tenants have and may have. A store that does not count has no sessions and bytes to tell of, and one that does not answer has
// none this time.
func (s state) usage(out told, from *Sources) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	d := &s.m.state
	var all tenantUsage
	stored := true
	for _, t := range from.Server.TenantStats() {
		used, err := from.Sessions.Usage(ctx, t.Name)
		stored = stored && err == nil
		u := tenantUsage{used.Sessions, used.Bytes, t.Connections, used.Waiters, t.Memory}
		all.add(u)
		if s.m.mode == Full {
			out.usage(d.tenantUsage, t.Name, u, err == nil)
			out.usage(d.tenantQuota, t.Name, tenantUsage{t.SessionsMax, t.BytesMax, t.ConnectionsMax, t.WaitersMax, t.MemoryMax}.limits(), true)
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

// tenantUsage has a number for each of resources, which are what quotas are about.
type tenantUsage [5]int64

var resources = [len(tenantUsage{})]string{"sessions", "bytes", "connections", "waiters", "memory"}

func (u *tenantUsage) add(o tenantUsage) {
	for i := range u {
		u[i] += o[i]
	}
}

// limits makes what is no limit negative.
func (u tenantUsage) limits() tenantUsage {
	for i := range u {
		if u[i] == 0 {
			u[i] = -1
		}
	}
	return u
}

// told is what a scrape is told.
type told struct{ to chan<- prometheus.Metric }

func (t told) gauge(d *prometheus.Desc, v float64, labels ...string) {
	t.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// known tells what is not negative.
func (t told) known(d *prometheus.Desc, kind prometheus.ValueType, v int64) {
	if v >= 0 {
		t.to <- prometheus.MustNewConstMetric(d, kind, float64(v))
	}
}

// usage tells what is not negative, and what is stored only if that is known.
func (t told) usage(d *prometheus.Desc, name string, u tenantUsage, stored bool) {
	for i, v := range u {
		if v >= 0 && (stored || i >= 2) {
			t.gauge(d, float64(v), name, resources[i])
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
