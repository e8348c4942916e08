//go:build linux

package app

import (
	"testing"

	"sessionserver/configs"
)

// TestShareDescriptors checks that the descriptors are divided completely, and that the limit of connections is reduced
// to what they suffice for.
func TestShareDescriptors(t *testing.T) {
	cfg := configs.Default()
	cfg.Listen = make([]configs.Listen, 2)
	for _, driver := range []string{"memory", "file", "log"} {
		cfg.Storage.Driver = driver
		before := -1
		for allowed := 1; allowed < 1<<21; allowed += 1 + allowed/50 {
			d := shareDescriptors(allowed, &cfg)
			used := descriptorsFixed + len(cfg.Listen) + d.connections + d.refusals + d.operators + d.files
			if d.connections > 0 && used > allowed || d.connections > cfg.Limits.Connections {
				t.Fatalf("%s: of %d: %+v", driver, allowed, d)
			}
			if (d.check() == nil) != (d.connections > 0) ||
				(d.note(&cfg) == "") != (d.connections == cfg.Limits.Connections) {
				t.Errorf("%s: of %d: %+v: %v, %q", driver, allowed, d, d.check(), d.note(&cfg))
			}
			before = d.connections
		}
		if before != cfg.Limits.Connections {
			t.Errorf("%s: at most %d connections", driver, before)
		}
	}
	if d := shareDescriptors(0, &cfg); d.connections != cfg.Limits.Connections {
		t.Errorf("of an unknown number: %+v", d)
	}
}
