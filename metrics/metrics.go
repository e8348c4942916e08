package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"sessionserver/server/throttle"
)

// Options say what is counted.
type Options struct {
	Version, Revision string       // of the program, for build_info
	Tenants           TenantsMode  // what is counted for each tenant; "" is Full
	Logger            *slog.Logger // of what goes wrong at a scrape; nil is nowhere
}

// TenantsMode says how much is counted for each tenant.
type TenantsMode string

const (
	Full   TenantsMode = "full"   // series for each of them
	Totals TenantsMode = "totals" // one of each kind for all, under the name "all"
	Off    TenantsMode = "off"    // none
)

// Metrics is all that a server counts. Its parts are observers to be handed to the packages that tell of something.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger
	mode     TenantsMode
	families

	gates map[string]prometheus.Counter

	learning  sync.Mutex // held while one of the following is replaced by another with more, or less, in it
	commanded atomic.Pointer[map[string]*command]
	known     atomic.Pointer[map[string]*tenant]

	events  sessionEvents
	sources atomic.Pointer[Sources]
}

// New declares everything, and counts nothing yet.
func New(o Options) (*Metrics, error) {
	if o.Tenants == "" {
		o.Tenants = Full
	}
	if !slices.Contains([]TenantsMode{Full, Totals, Off}, o.Tenants) {
		return nil, fmt.Errorf("metrics: Options.Tenants is %.40q (allowed: full, totals, off)", o.Tenants)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Metrics{registry: prometheus.NewRegistry(), log: slog.New(throttle.NewHandler(o.Logger.Handler())), mode: o.Tenants}
	m.families = declare(m.registry)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), state{m})
	m.buildInfo.WithLabelValues(o.Version, o.Revision, runtime.Version()).Set(1)
	m.begin()
	return m, nil
}

// begin makes the series that are there from the start: what has not happened yet is 0, so that the first time is seen as one.
func (m *Metrics) begin() {
	m.gates = byGate(func(gate string) prometheus.Counter { return m.refusals.WithLabelValues(gate) })
	commands, tenants := map[string]*command{}, map[string]*tenant{}
	if m.mode == Totals {
		tenants[allTenants] = m.newTenant(allTenants)
	}
	m.commanded.Store(&commands)
	m.known.Store(&tenants)
	m.beginConnections()
	m.beginSessions()
	m.beginCertificates()
}

// Handler serves /metrics, in the format that Prometheus asks for. A client that hangs up is not logged: that is no fault of the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(m.gather), promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,
		CoalesceGather:    true,
	})
}

func (m *Metrics) gather() ([]*dto.MetricFamily, error) {
	m.knowTenants()
	all, err := m.registry.Gather()
	if err != nil {
		m.log.Error("metrics are incomplete", "err", err)
	}
	return all, err
}
