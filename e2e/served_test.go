package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sessionserver/client"
)

// TestNoNewDSNRefused checks that a new DSN works as soon as the command that created it has returned, and that a
// revoked one fails as soon as that command has. Several commands run at the same time.
func TestNoNewDSNRefused(t *testing.T) {
	t.Parallel()
	h := deployment{tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\n",
		"zoo": "allow: [127.0.0.0/8]\n"}}.serve(t)
	defer h.stop()
	dial := func(dsn string) error {
		c, err := client.Dial(t.Context(), strings.TrimSpace(dsn), client.Options{MaxOpen: 1})
		if err != nil {
			return err
		}
		_, err = c.WhoAmI(t.Context())
		c.Close()
		return err
	}
	address := "tls://" + h.addr + "?cafile=" + h.ca
	run := func(args ...string) (string, error) {
		out, said, status := newCLI(t, "").run("", append(args, "--config", h.file)...)
		if status != 0 {
			return "", fmt.Errorf("%v: status %d\n%s%s", args, status, out, said)
		}
		return out, nil
	}
	var loops sync.WaitGroup
	for loop, tenant := range []string{"acme", "acme", "zoo", "zoo"} {
		loops.Go(func() {
			for i := range 8 {
				app := fmt.Sprintf("%s/app-%d-%d", tenant, loop, i)
				first, err := run("app", "create", app, "--address", address)
				if err == nil {
					err = dial(first)
				}
				if err != nil {
					t.Errorf("a new app: %v", err)
					return
				}
				second, err := run("app", "rotate", app, "--address", address)
				if err == nil {
					err = dial(second)
				}
				if err == nil {
					_, err = run("app", "revoke", app, "--oldest")
				}
				if err == nil {
					err = dial(second)
				}
				if err != nil {
					t.Errorf("a rotated app: %v", err)
					return
				}
				if dial(first) == nil {
					t.Errorf("the old secret of %s is good after it was revoked", app)
				}
				if _, err = run("app", "revoke", app); err != nil || dial(second) == nil {
					t.Errorf("%s is good after it was revoked: %v", app, err)
				}
			}
		})
	}
	loops.Wait()
	if _, err := run("tenant", "create", "late"); err != nil {
		t.Fatal(err)
	}
	dsn, err := run("app", "create", "late/shop", "--address", address)
	if err == nil {
		err = dial(dsn)
	}
	if err != nil {
		t.Errorf("a new tenant: %v", err)
	}
	if _, err := run("tenant", "delete", "late"); err != nil || dial(dsn) == nil {
		t.Errorf("a tenant is served after it was deleted: %v", err)
	}
}
