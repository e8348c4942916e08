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

// Server is the observer of a server.
func (m *Metrics) Server() server.Observer { return serverObserver{m} }

type serverObserver struct{ m *Metrics }

// conn counts what happens on one connection.
type conn struct {
	m        *Metrics
	listener string
	open     prometheus.Gauge // that has the connection in it
	tenant   *tenant          // as whom it acts; nil is nobody who is counted
}

var _ server.ConnObserver = (*conn)(nil)

func (o serverObserver) ConnOpened(info server.ConnInfo) server.ConnObserver {
	m := o.m
	m.opened.WithLabelValues(info.Listener).Inc()
	c := &conn{m: m, listener: info.Listener, open: m.connections.WithLabelValues(info.Listener, server.TLSVersion(info.TLS))}
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

func (c *conn) HandshakeFailed(why server.HandshakeFailure) {
	c.m.handshakeFailures.WithLabelValues(c.listener, string(why)).Inc()
}

func (c *conn) Identified(who auth.Identity, how auth.Method) {
	c.tenant = nil
	if who.IsZero() {
		return
	}
	c.m.authentications.WithLabelValues(string(how)).Inc()
	c.tenant = c.m.servedTenant(who.Tenant)
}

func (c *conn) AuthFailed(how auth.Method) {
	c.m.authenticationFailures.WithLabelValues(string(how)).Inc()
}

func (c *conn) RateLimited(whose server.Scope) { c.m.rateLimited.WithLabelValues(string(whose)).Inc() }

func (c *conn) Refused(gate, tenant string) { c.refused(gate, c.of(tenant)) }

// of is what is counted of a tenant, or of the one as which the connection acts if none is named.
func (c *conn) of(name string) *tenant {
	if name == "" {
		return c.tenant
	}
	return c.m.tenant(name)
}

func (c *conn) refused(gate string, of *tenant) {
	all := c.m.gates[gate]
	if all == nil {
		return // there is no such gate
	}
	all.Inc()
	if of != nil {
		of.gates[gate].Inc()
	}
}

func (c *conn) CommandRan(info server.CommandInfo) {
	cmd := c.m.command(info.Command)
	cmd.duration.Observe(info.Duration.Seconds())
	cmd.answered(c.m, codeOf(info)).Inc()
	of := c.of(info.Tenant)
	if info.Gate != "" {
		c.refused(info.Gate, of)
	}
	if of != nil {
		of.ran(info)
	}
}

func (c *conn) Closed(why server.CloseReason) {
	c.open.Dec()
	c.m.closed.WithLabelValues(c.listener, why.String()).Inc()
}

// command is what is counted of one command of the table, or of those that are not there.
type command struct {
	name     string
	duration prometheus.Observer
	codes    []atomic.Pointer[prometheus.Counter] // by code; nil until there was one
}

// unknown is what stands for a command or a code that is none of ours.
const unknown = "unknown"

// command finds what is counted of a command. A server names those of its table only, so there are few.
func (m *Metrics) command(name string) *command {
	if cmd := (*m.commanded.Load())[name]; cmd != nil {
		return cmd
	}
	m.learning.Lock()
	defer m.learning.Unlock()
	before := *m.commanded.Load()
	if cmd := before[name]; cmd != nil {
		return cmd
	}
	label := name
	if label == "" {
		label = unknown
	}
	cmd := &command{name: label, duration: m.commandDuration.WithLabelValues(label), codes: make([]atomic.Pointer[prometheus.Counter], len(codes))}
	for _, code := range []int{codeOK, codePlaces[wire.Internal], codePlaces[wire.Unavailable]} { // what rules ask for: the first fault is to be seen as one
		cmd.answered(m, code)
	}
	after := maps.Clone(before)
	after[name] = cmd
	m.commanded.Store(&after)
	return cmd
}

// answered is the counter of a code.
func (cmd *command) answered(m *Metrics, code int) prometheus.Counter {
	if c := cmd.codes[code].Load(); c != nil {
		return *c
	}
	c := m.commands.WithLabelValues(cmd.name, codes[code])
	cmd.codes[code].Store(&c)
	return c
}

// codes are what an answer can be, by their place.
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
	codeUnknown // a command that was added answers with a code of its own
)

var codePlaces = func() map[wire.Code]int {
	places := make(map[wire.Code]int)
	for i, name := range codes[codeUnknown+1:] {
		places[wire.Code(name)] = codeUnknown + 1 + i
	}
	return places
}()

func codeOf(info server.CommandInfo) int {
	switch {
	case info.PeerLeft:
		return codePeerLeft
	case info.Outcome == "":
		return codeOK
	}
	if place := codePlaces[info.Outcome]; place != 0 {
		return place
	}
	return codeUnknown
}

// byGate makes something for each gate.
func byGate(of func(label string) prometheus.Counter) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter)
	for _, gate := range server.Gates() {
		all[gate] = of(gateLabel(gate))
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
