package configs

// Metrics holds the settings of the metrics.
type Metrics struct {
	Tenants string `yaml:"tenants"` // series per tenant: full, totals or off
}

func (v *validator) metrics(m Metrics) {
	v.oneOf("metrics.tenants", m.Tenants, "full", "totals", "off")
}
