package metrics

import "errors"

var errProblems = errors.New("metrics: some files are not right")

// ConfigLoaded tells that the configuration that the process began with is in use. It is no reload.
func (m *Metrics) ConfigLoaded() {
	m.configReloads.successful.set(true)
	m.configReloads.lastSuccess.now()
}

// ConfigReloaded counts a reload of the configuration.
func (m *Metrics) ConfigReloaded(err error) { m.configReloads.done(err) }

// TenantFilesLoaded counts a look at the files of tenants that found something new, and how much is wrong with them now; err is that they could not be used
// at all.
func (m *Metrics) TenantFilesLoaded(problems int, err error) {
	m.tenantProblems.Set(float64(problems))
	if err == nil && problems > 0 {
		err = errProblems
	}
	m.tenantReloads.done(err)
}
