package configs

// Metrics says what Prometheus is shown.
type Metrics struct {
	Tenants string `yaml:"tenants"` // full, totals or off: what is counted for each tenant
}

func (v *validator) metrics(m Metrics) {
	v.oneOf("metrics.tenants", m.Tenants, "full", "totals", "off")
}
