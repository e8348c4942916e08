package metrics

// Reloaded counts a check of something that is reloaded while the server runs. Its name is a label, so the caller must
// pass one of a few constants.
func (m *Metrics) Reloaded(what string, err error) {
	if err != nil {
		m.reloads.WithLabelValues(what, "failed").Inc()
		m.reloadSuccessful.WithLabelValues(what).Set(0)
		return
	}
	m.reloads.WithLabelValues(what, "ok").Inc()
	m.reloads.WithLabelValues(what, "failed") // so that the first failure is an increase
	m.reloadSuccessful.WithLabelValues(what).Set(1)
	m.reloadSuccess.WithLabelValues(what).SetToCurrentTime()
}

// TenantProblems records the present number of problems in the files of tenants.
func (m *Metrics) TenantProblems(problems int) { m.tenantProblems.Set(float64(problems)) }
