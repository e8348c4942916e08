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

// Options configure New.
type Options struct {
	Version, Revision string       // of the program, for build_info
	Tenants           TenantsMode  // extent of the metrics for each tenant; "" is Full
	Logger            *slog.Logger // for errors at scrapes; nil discards them
}

// TenantsMode is the extent of the metrics for each tenant.
type TenantsMode string

const (
	Full   TenantsMode = "full"   // series for each tenant
	Totals TenantsMode = "totals" // one series of each kind for all tenants, under the name "all"
	Off    TenantsMode = "off"    // no series of tenants
)

// Metrics holds all metrics of a server. Its methods return or are the observers of other packages.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger
	mode     TenantsMode
	families

	gates map[string]prometheus.Counter

	mu             sync.Mutex // held while one of the following maps is replaced by a changed copy
	commandMetrics atomic.Pointer[map[string]*command]
	tenantMetrics  atomic.Pointer[map[string]*tenant]

	events  sessionEvents
	sources atomic.Pointer[Sources]
}

// New declares all metrics.
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
	m := &Metrics{
		registry: prometheus.NewRegistry(), log: slog.New(throttle.NewHandler(o.Logger.Handler())), mode: o.Tenants,
	}
	m.families = declare(m.registry)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), state{m})
	m.buildInfo.WithLabelValues(o.Version, o.Revision, runtime.Version()).Set(1)
	m.begin()
	return m, nil
}

// begin creates the series that exist from the start. They begin at 0, so that the first event is an increase.
func (m *Metrics) begin() {
	m.gates = byGate(func(gate string) prometheus.Counter { return m.refusals.WithLabelValues(gate) })
	commands, tenants := map[string]*command{}, map[string]*tenant{}
	if m.mode == Totals {
		tenants[allTenants] = m.newTenant(allTenants)
	}
	m.commandMetrics.Store(&commands)
	m.tenantMetrics.Store(&tenants)
	m.beginConnections()
	m.beginSessions()
	m.beginCertificates()
}

// Handler serves /metrics, in the format that Prometheus requests. A client that hangs up is not logged,
// since it is not a fault of the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(m.gather), promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,
		CoalesceGather:    true,
	})
}

func (m *Metrics) gather() ([]*dto.MetricFamily, error) {
	m.updateTenants()
	all, err := m.registry.Gather()
	if err != nil {
		m.log.Error("metrics are incomplete", "err", err)
	}
	return all, err
}
