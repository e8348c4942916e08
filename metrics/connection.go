package metrics

import (
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/wire"
)

// Server returns the observer of a server.
func (m *Metrics) Server() server.Observer { return serverObserver{m} }

type serverObserver struct{ m *Metrics }

// conn counts the events of one connection.
type conn struct {
	m        *Metrics
	listener string
	open     prometheus.Gauge // includes the connection
	tenant   *tenant          // of the connection; nil without a counted one
}

var _ server.ConnObserver = (*conn)(nil)

func (o serverObserver) ConnOpened(info server.ConnInfo) server.ConnObserver {
	m := o.m
	m.opened.WithLabelValues(info.Listener).Inc()
	open := m.connections.WithLabelValues(info.Listener, server.TLSVersion(info.TLS))
	c := &conn{m: m, listener: info.Listener, open: open}
	c.open.Inc()
	return c
}

func (c *conn) HandshakeDone(version uint16, took time.Duration) {
	name := server.TLSVersion(version)
	c.m.handshakes.WithLabelValues(c.listener, name).Inc()
	c.m.handshakeDuration.WithLabelValues(c.listener).Observe(took.Seconds())
	c.open.Dec()
	c.open = c.m.connections.WithLabelValues(c.listener, name)
	c.open.Inc()
}

func (c *conn) HandshakeFailed(reason server.HandshakeFailure) {
	c.m.handshakeFailures.WithLabelValues(c.listener, string(reason)).Inc()
}

func (c *conn) Identified(id auth.Identity, method auth.Method) {
	c.tenant = nil
	if id.IsZero() {
		return
	}
	c.m.authentications.WithLabelValues(string(method)).Inc()
	c.tenant = c.m.servedTenant(id.Tenant)
}

func (c *conn) AuthFailed(method auth.Method) {
	c.m.authenticationFailures.WithLabelValues(string(method)).Inc()
}

func (c *conn) RateLimited(scope server.Scope) { c.m.rateLimited.WithLabelValues(string(scope)).Inc() }

func (c *conn) Refused(gate, tenant string) { c.refused(gate, c.tenantOf(tenant)) }

// tenantOf returns the counters of a tenant. Without a name it returns those of the connection's tenant.
func (c *conn) tenantOf(name string) *tenant {
	if name == "" {
		return c.tenant
	}
	return c.m.tenant(name)
}

func (c *conn) refused(gate string, t *tenant) {
	all := c.m.gates[gate]
	if all == nil {
		return // an unknown gate
	}
	all.Inc()
	if t != nil {
		t.gates[gate].Inc()
	}
}

func (c *conn) CommandRan(info server.CommandInfo) {
	cmd := c.m.command(info.Command)
	cmd.duration.Observe(info.Duration.Seconds())
	cmd.replies(c.m, codeOf(info)).Inc()
	t := c.tenantOf(info.Tenant)
	if info.Gate != "" {
		c.refused(info.Gate, t)
	}
	if t != nil {
		t.ran(info)
	}
}

func (c *conn) Closed(reason server.CloseReason) {
	c.open.Dec()
	c.m.closed.WithLabelValues(c.listener, reason.String()).Inc()
}

// command holds the metrics of one command of the table, or those of all unknown commands.
type command struct {
	name     string
	duration prometheus.Observer
	codes    []atomic.Pointer[prometheus.Counter] // by index of the code; nil until it occurred
}

// unknown is the label of commands and codes that are not in the tables.
const unknown = "unknown"

// command returns the metrics of a command. A server reports only commands of its table, so their number is small.
func (m *Metrics) command(name string) *command {
	if cmd := (*m.commandMetrics.Load())[name]; cmd != nil {
		return cmd
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := *m.commandMetrics.Load()
	if cmd := before[name]; cmd != nil {
		return cmd
	}
	label := name
	if label == "" {
		label = unknown
	}
	cmd := &command{
		name: label, duration: m.commandDuration.WithLabelValues(label),
		codes: make([]atomic.Pointer[prometheus.Counter], len(codes)),
	}
	// Alerts use these codes. Their series begin at 0, so that the first fault is an increase.
	for _, code := range []int{codeOK, codeIndexes[wire.Internal], codeIndexes[wire.Unavailable]} {
		cmd.replies(m, code)
	}
	after := maps.Clone(before)
	after[name] = cmd
	m.commandMetrics.Store(&after)
	return cmd
}

// replies returns the counter of replies with a code.
func (cmd *command) replies(m *Metrics, code int) prometheus.Counter {
	if c := cmd.codes[code].Load(); c != nil {
		return *c
	}
	c := m.commands.WithLabelValues(cmd.name, codes[code])
	cmd.codes[code].Store(&c)
	return c
}

// codes are the label values of replies, by index.
var codes = func() []string {
	all := []string{codeOK: "OK", codePeerLeft: "PEERLEFT", codeUnknown: unknown}
	for _, c := range wire.Codes {
		all = append(all, string(c))
	}
	return all
}()

const (
	codeOK = iota
	codePeerLeft
	codeUnknown // a code that an added command defines
)

var codeIndexes = func() map[wire.Code]int {
	indexes := make(map[wire.Code]int)
	for i, name := range codes[codeUnknown+1:] {
		indexes[wire.Code(name)] = codeUnknown + 1 + i
	}
	return indexes
}()

func codeOf(info server.CommandInfo) int {
	switch {
	case info.PeerLeft:
		return codePeerLeft
	case info.Outcome == "":
		return codeOK
	}
	if index := codeIndexes[info.Outcome]; index != 0 {
		return index
	}
	return codeUnknown
}

// byGate returns a counter for each gate.
func byGate(counter func(label string) prometheus.Counter) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter)
	for _, gate := range server.Gates() {
		all[gate] = counter(gateLabel(gate))
	}
	return all
}

func gateLabel(gate string) string { return strings.ReplaceAll(gate, " ", "_") }

func (m *Metrics) beginConnections() {
	for _, method := range auth.Methods {
		m.authentications.WithLabelValues(string(method))
		m.authenticationFailures.WithLabelValues(string(method))
	}
	for _, scope := range server.Scopes {
		m.rateLimited.WithLabelValues(string(scope))
	}
}
