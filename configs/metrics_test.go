package configs

import "testing"

func TestMetricsTenants(t *testing.T) {
	for mode, right := range map[string]bool{"full": true, "totals": true, "off": true, "": false, "Full": false,
		"none": false} {
		cfg := Default()
		cfg.Metrics.Tenants = mode
		if problems := cfg.Validate(); (len(problems) == 0) != right {
			t.Errorf("%q: %v", mode, problems)
		}
	}
}
