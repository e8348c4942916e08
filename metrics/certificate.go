package metrics

import (
	"time"

	"sessionserver/certs"
)

// Certificates is the observer of the server's certificates.
func (m *Metrics) Certificates() certs.Observer { return certificateObserver{m} }

type certificateObserver struct{ m *Metrics }

func (o certificateObserver) CertificateChanged(e certs.Event) {
	o.m.certificateEvents.WithLabelValues(e.Kind.String()).Inc()
}

// FilesRead does nothing: [Metrics.Reloaded] counts everything that is read anew.
func (o certificateObserver) FilesRead(error) {}

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
