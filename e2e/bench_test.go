package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"sessionserver/auth"
)

// TestBench checks that bench takes its DSN from the environment, shows its progress while it creates sessions, and
// advises what to do about refusals.
func TestBench(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{tenants: map[string]string{
		"slow":     tenantFile("rates: {on_limit: delay, app: {per_second: 200, burst: 8}}", "shop "+secret),
		"creation": tenantFile("rates: {session_creation: {per_second: 0.01, burst: 10}}", "shop "+secret),
		"rate":     tenantFile("rates: {app: {per_second: 0.01, burst: 10}}", "shop "+secret),
		"full":     tenantFile("quotas: {sessions: 2}", "shop "+secret),
		"reads":    strings.Replace(tenantFile("", "shop "+secret), "readwrite", "readonly", 1),
	}}.serve(t)
	for _, row := range []struct {
		tenant string
		ok     bool
		want   []string
	}{
		{"slow", true, []string{"   1 s  ", " of 60 sessions made\n", " cycles in ", " 0 failed: "}},
		{"creation", false, []string{"new: RATELIMITED retry in ",
			"\nraise rates in the tenant's file, session_creation above all, or take fewer --sessions"}},
		{"rate", false, []string{"RATELIMITED ", "\nraise rates in the tenant's file"}},
		{"full", false, []string{"QUOTA ", "\nraise quotas in the tenant's file, or take fewer --sessions"}},
		{"reads", false, []string{"new: DENIED this app may only read\n" +
			"give the DSN of an app that may make sessions, and read and write the key data"}},
	} {
		cmd := exec.Command(binary(), "bench", "--connections", "4", "--sessions", "60", "--duration", "1s")
		cmd.Env = append(os.Environ(), "SESSIONSERVER_DSN=tls://shop:"+secret+"@"+h.addr+"/"+row.tenant+"?cafile="+h.ca)
		out, err := cmd.CombinedOutput()
		if (err == nil) != row.ok {
			t.Errorf("%s: %v\n%s", row.tenant, err, out)
		}
		for _, want := range row.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the output lacks %q:\n%s", row.tenant, want, out)
			}
		}
	}
}
