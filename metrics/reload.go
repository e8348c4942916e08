package metrics

// Reloaded counts a look at something that is read anew while the server runs. Its name is a label: one of a few, which
// the caller has in its code.
func (m *Metrics) Reloaded(what string, err error) {
	if err != nil {
		m.reloads.WithLabelValues(what, "failed").Inc()
		m.reloadSuccessful.WithLabelValues(what).Set(0)
		return
	}
	m.reloads.WithLabelValues(what, "ok").Inc()
	m.reloads.WithLabelValues(what, "failed") // so that the first failure is seen as a rise
	m.reloadSuccessful.WithLabelValues(what).Set(1)
	m.reloadSuccess.WithLabelValues(what).SetToCurrentTime()
}

// TenantProblems records how much is wrong with the files of tenants now.
func (m *Metrics) TenantProblems(problems int) { m.tenantProblems.Set(float64(problems)) }
