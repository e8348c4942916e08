package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"sessionserver/auth"
)

// TestBench: it takes the DSN from the environment, tells how it goes even while a rate holds it up, and what to do when it cannot go on.
func TestBench(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := house{tenants: map[string]string{
		"slow":  tenantFile("rates: {mint: {per_second: 20, burst: 10}}", "shop "+secret),
		"full":  tenantFile("quotas: {sessions: 2}", "shop "+secret),
		"reads": strings.Replace(tenantFile("", "shop "+secret), "readwrite", "readonly", 1),
	}}.serve(t)
	for _, row := range []struct {
		tenant string
		ok     bool
		want   []string
	}{
		{"slow", true, []string{" of 60 sessions made; the server lets no more be made a second: see rates in the tenant's file\n", " cycles in ", " 0 failed: "}},
		{"full", false, []string{"QUOTA ", "\nraise quotas in the tenant's file, or take fewer --sessions"}},
		{"reads", false, []string{"new: DENIED this app may only read\ngive the DSN of an app that may write the key data"}},
	} {
		cmd := exec.Command(binary, "bench", "--connections", "4", "--sessions", "60", "--duration", "100ms")
		cmd.Env = append(os.Environ(), "SESSIONSERVER_DSN=tls://shop:"+secret+"@"+h.addr+"/"+row.tenant+"?cafile="+h.ca)
		out, err := cmd.CombinedOutput()
		if (err == nil) != row.ok {
			t.Errorf("%s: %v\n%s", row.tenant, err, out)
		}
		for _, want := range row.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: it does not say %q:\n%s", row.tenant, want, out)
			}
		}
	}
}
