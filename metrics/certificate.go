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

// certificates tells when certificates expire. Of several with the same first name that which expires first counts.
func (s state) certificates(out told, all []certs.Expiry) {
	type named struct{ name, source string }
	first := make(map[named]time.Time)
	for _, e := range all {
		key := named{source: e.Source.String()}
		if len(e.Names) > 0 {
			key.name = e.Names[0]
		}
		if known, ok := first[key]; !ok || e.NotAfter.Before(known) {
			first[key] = e.NotAfter
		}
	}
	for key, notAfter := range first {
		out.gauge(s.m.state.certificateExpiry, float64(notAfter.Unix()), key.name, key.source)
	}
}
