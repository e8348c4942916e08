package metrics

import (
	"time"

	"sessionserver/certs"
)

// Certificate counts an event of the server's certificates. Reads of files are counted by [Metrics.Reloaded].
func (m *Metrics) Certificate(e certs.Event) {
	if e.Kind != certs.FilesRead {
		m.certificateEvents.WithLabelValues(e.Kind.String()).Inc()
	}
}

func (m *Metrics) beginCertificates() {
	for kind := certs.Loaded; kind <= certs.Removed; kind++ {
		m.certificateEvents.WithLabelValues(kind.String())
	}
}

// certificates reports when certificates expire. Among those with the same first name the earliest expiry counts.
func (s state) certificates(out metricWriter, all []certs.Expiry) {
	type named struct{ name, source string }
	earliest := make(map[named]time.Time)
	for _, e := range all {
		key := named{source: e.Source.String()}
		if len(e.Names) > 0 {
			key.name = e.Names[0]
		}
		if known, ok := earliest[key]; !ok || e.NotAfter.Before(known) {
			earliest[key] = e.NotAfter
		}
	}
	for key, notAfter := range earliest {
		out.gauge(s.m.state.certificateExpiry, float64(notAfter.Unix()), key.name, key.source)
	}
}
