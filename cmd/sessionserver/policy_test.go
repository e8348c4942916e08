package main

import (
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

// TestPolicyTest checks that policy test shows each test with its output, and fails if a test fails.
func TestPolicyTest(t *testing.T) {
	c := newCLI(t, "")
	out, stderr, status := c.Run("", "policy", "test")
	if status != 0 || !strings.Contains(out, "\nok    default_test.rego:") ||
		!strings.Contains(out, "the default: tests passed: ") {
		t.Errorf("status %d\n%s%s", status, out, stderr)
	}
	dir := t.TempDir()
	test := func(status int, wants ...string) {
		t.Helper()
		out, stderr, got := c.Run("", "policy", "test", dir)
		for _, want := range wants {
			if !strings.Contains(out+stderr, want) {
				t.Errorf("the output lacks %q", want)
			}
		}
		if got != status || t.Failed() {
			t.Errorf("status %d, want %d\n%s%s", got, status, out, stderr)
		}
	}
	test(1, "no rule allow in")
	servertest.WriteFiles(t, dir, map[string]string{"a.rego": "package sessionserver.authz\n\n" +
		"allow if input.app == \"one\"\n"})
	test(0, dir+" compiles, and has no tests")
	servertest.WriteFiles(t, dir, map[string]string{"a_test.rego": "package x\n\ntest_a if {\n\tprint(\"see\", 1)\n" +
		"}\n\ntodo_test_b if false\n",
		"tenants/acme/a.rego":      "package sessionserver.tenant\n\nallow if true\n",
		"tenants/acme/a_test.rego": "package y\n\ntest_c if true\n"})
	test(0, "ok    "+dir+"/a_test.rego:3  data.x.test_a  ", "\n      see 1\n", "skip  "+dir+"/a_test.rego:7",
		"ok    "+dir+"/tenants/acme/a_test.rego:3", "tests passed: 2")
	servertest.WriteFiles(t, dir, map[string]string{"a_test.rego": "package x\n\ntest_a if {\n\tprint(\"why\")\n" +
		"\tfalse\n}\n"})
	test(1, "FAIL  "+dir+"/a_test.rego:3  data.x.test_a  ", "\n      why\n",
		"a_test.rego:3: test data.x.test_a failed: why\n", "ok    "+dir+"/tenants/acme/a_test.rego:3")
	servertest.WriteFiles(t, dir, map[string]string{"a.rego": "package sessionserver.authz\n\n" +
		"allow if input.ap == \"one\"\n"})
	test(1, dir+"/a.rego:3: rego_type_error: undefined ref: input.ap")
}

// TestPolicyDefault checks that policy default prints the shipped policy.
func TestPolicyDefault(t *testing.T) {
	c := newCLI(t, "")
	text, stderr, status := c.Run("", "policy", "default")
	dir := t.TempDir()
	const shipped = "../../configs/policies/"
	servertest.WriteFiles(t, dir, map[string]string{
		"default.rego":        text,
		"reporting.rego":      servertest.ReadFile(t, shipped+"examples/reporting.rego"),
		"reporting_test.rego": servertest.ReadFile(t, shipped+"examples/reporting_test.rego"),
	})
	if out, more, failed := c.Run("", "policy", "test", dir); status != 0 || failed != 0 {
		t.Errorf("status %d, %d\n%s%s%s", status, failed, out, stderr, more)
	}
	if text != servertest.ReadFile(t, shipped+"default.rego") {
		t.Errorf("it prints another policy than ships:\n%s", text)
	}
}

// TestPolicyEval checks that policy eval decides like the server, and reports mistakes.
func TestPolicyEval(t *testing.T) {
	dir := t.TempDir()
	c := newCLI(t, "policy: {folder: "+dir+"/policies}\n")
	servertest.WriteFiles(t, dir, map[string]string{
		"policies/a.rego": "package sessionserver.authz\n\nallow if data.tenants[input.tenant].settings.plan == " +
			"\"large\"\n\nreasons contains sprintf(\"%s is small\", [input.role])\n",
		"draft/a.rego": "package sessionserver.authz\n\nallow if input.address == \"192.0.2.1\"\n\n" +
			"allow if input.session.age_s > 60\n\nallow if input.tls.certificate.dns_names[_] == \"shop.example\"\n",
	})
	servertest.WriteFiles(t, dir, map[string]string{
		"flawed/a.rego":        "package sessionserver.authz\n\nallow if input.app == \"two\"\n",
		"flawed/a_test.rego":   "package a\n\ntest_a if false\n\ntest_b if false\n\ntest_c if true\n",
		"untested/a.rego":      "package sessionserver.authz\n\nallow if input.app == \"two\"\n",
		"untested/a_test.rego": "package a\n\ntest_a if nosuch(1)\n",
		"broken/a.rego":        "package sessionserver.authz\n\nallow if input.ap\n",
	})
	servertest.Certificate{Name: "shop.example"}.Write(t, dir, "cert")
	servertest.WriteFiles(t, filepath.Join(c.Dir, "tenants.d"), map[string]string{
		"acme.yaml": "allow: [::1]\npolicy: {plan: large}\napps: {shop: {role: readwrite}, reports: {role: " +
			"readonly}}\n",
		"tiny.yaml": "allow: [::1]\npolicy: {plan: small}\napps: {shop: {role: readonly}}\n",
		"bad.yaml":  "allow: 1\n",
	})
	draft := []string{"--folder", dir + "/draft", "--tenant", "any", "--app", "one", "--command"}
	flawed := []string{"--folder", dir + "/flawed", "--tenant", "any", "--app", "one", "--command", "new"}
	configured := []string{"--config", c.Config, "--tenant"}
	for _, row := range []struct {
		status int
		want   string
		args   []string
	}{
		{0, "allowed\n\ninput {", append(configured, "acme", "--app", "shop", "--command", "put", "--key", "a")},
		{0, "denied: readonly is small\n\ninput {", append(configured, "tiny", "--app", "shop", "--command", "whoami")},
		{0, "a.rego:3", append(configured, "acme", "--app", "shop", "--command", "close")},
		{0, "policy of the operator: allow, cached by tenant\n",
			append(configured, "acme", "--app", "shop", "--command", "close")},
		{0, "denied: no rule gives a reason\n\ninput {",
			append(configured, "acme", "--app", "shop", "--command", "close", "--folder", dir+"/draft")},
		{0, "denied: no rule gives a reason\n\ninput {", append(draft, "new")},
		{0, "allowed\n\ninput {", append(draft, "new", "--address", "192.0.2.1")},
		{0, "denied: no rule", append(draft, "new", "--address", "")},
		{0, "allowed\n\ninput {", append(draft, "stat", "--age", "2m")},
		{0, "allowed\n\ninput {", append(draft, "stat", "--certificate", dir+"/cert.pem")},
		{0, `"key": "", `, append(draft, "put", "--key", "")},
		{1, "policies decide about put once for each key: add --key KEY",
			append(configured, "acme", "--app", "shop", "--command", "put")},
		{0, "note: the server would not take these policies (tests that fail: 2):\n    " + dir +
			"/flawed/a_test.rego:3: test data.a.test_a failed\n    " + dir + "/flawed/a_test.rego:5: test ", flawed},
		{0, "denied: no rule gives a reason\n\ninput {", flawed},
		{0, "note: the server would not take these policies:\n    " + dir +
			"/untested/a_test.rego:3: rego_type_error: undefined function nosuch\n",
			[]string{"--folder", dir + "/untested", "--tenant", "any", "--app", "one", "--command", "new"}},
		{1, dir + "/broken/a.rego:3: rego_type_error: undefined ref: input.ap ",
			[]string{"--folder", dir + "/broken", "--tenant", "any", "--app", "one", "--command", "new"}},
		{1, "no source of policies: give --config FILE, --dev or --folder DIR",
			[]string{"--tenant", "a", "--app", "b", "--command", "new"}},
		{1, "unknown tenant acne in ", append(configured, "acne", "--app", "shop", "--command", "new")},
		{1, "bad.yaml:1: allow: \"1\" (allowed: a list)",
			append(configured, "bad", "--app", "shop", "--command", "new")},
		{1, "tenant acme has no app \"shops\" (it has: reports, shop)",
			append(configured, "acme", "--app", "shops", "--command", "new")},
		{1, "unknown command \"gett\" (allowed: new, open, ",
			append(configured, "acme", "--app", "shop", "--command", "gett")},
		{1, "policies do not decide about ping", append(configured, "acme", "--app", "shop", "--command", "ping")},
		{1, "--role needs --folder", append(configured, "acme", "--app", "shop", "--command", "new", "--role",
			"admin")},
		{1, "--role: \"root\" (allowed: readwrite, readonly, admin)", append(draft, "new", "--role", "root")},
		{1, "--address: \"home\" is not an address", append(draft, "new", "--address", "home")},
		{1, "--tls: \"1.1\" (allowed: 1.2, 1.3)", append(draft, "new", "--tls", "1.1")},
		{1, "no session is open for new", append(draft, "new", "--keys", "1")},
		{1, "cert.key: ", append(draft, "new", "--certificate", dir+"/cert.key")},
	} {
		out, stderr, status := c.Run("", append([]string{"policy", "eval"}, row.args...)...)
		if status != row.status || !strings.Contains(out+stderr, row.want) {
			t.Errorf("%v: status %d, want %d and %q\n%s%s", row.args, status, row.status, row.want, out, stderr)
		}
	}
}

// TestCheckPolicies checks that check reports mistakes in policies with their position, and how decisions are cached.
func TestCheckPolicies(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	check := func(status int, wants ...string) {
		t.Helper()
		out, stderr, got := newCLI(t, "").Run("", "check", file)
		for _, want := range wants {
			if !strings.Contains(out+stderr, strings.ReplaceAll(want, "DIR", dir)) {
				t.Errorf("the output lacks %q", want)
			}
		}
		if got != status || t.Failed() {
			t.Fatalf("status %d, want %d\n%s%s", got, status, out, stderr)
		}
	}
	const text = "storage: {driver: memory}\npolicy:\n  "
	servertest.WriteFiles(t, dir, map[string]string{"c.yaml": text + "timeout: 50ms\n"})
	check(0, "policies: the default, revision ", "tests passed: ",
		"    allow: cached by tenant, app, role, access, mode, key\n")
	servertest.WriteFiles(t, dir, map[string]string{"c.yaml": text + "folder: " + dir + "/none\n"})
	check(1, "DIR/c.yaml:3: policy.folder: DIR/none: ")
	servertest.WriteFiles(t, dir, map[string]string{"c.yaml": text + "folder: " + dir + "/p\n",
		"p/a.rego": "package sessionserver.authz\n\nallow if input.tenat\n"})
	check(1, "DIR/c.yaml:3: policy.folder: DIR/p/a.rego:3: rego_type_error: undefined ref: input.tenat (have: "+
		"\"tenat\"; want (one of): [\"access\" ")
	servertest.WriteFiles(t, dir, map[string]string{"p/a.rego": "package sessionserver.authz\n\n" +
		"allow if input.tenant\n", "p/a_test.rego": "package a\n\ntest_a if false\n"})
	check(1, "DIR/c.yaml:3: policy.folder: DIR/p/a_test.rego:3: test data.a.test_a failed\n")
	servertest.WriteFiles(t, dir, map[string]string{"p/a_test.rego": "-",
		"p/tenants/acme/a.rego": "package sessionserver.tenant\n\nallow if time.now_ns() > 0\n"})
	check(0, "    allow: cached by tenant\n", "    tenant acme: allow: not cached, because it calls time.now_ns\n",
		"note: there are policies in tenants/acme, and no tenant acme: they decide nothing")
	servertest.WriteFiles(t, dir, map[string]string{"c.yaml": strings.ReplaceAll(
		text+"bundle: {url: \"http://127.0.0.1:1/b?secret\", key_file: DIR/key, token_file: DIR/token, keep: "+
			"DIR/keep}\n", "DIR", dir)})
	check(1, "DIR/c.yaml:3: policy.bundle.key_file: open DIR/key: no such file",
		"DIR/c.yaml:3: policy.bundle.token_file: the token: open DIR/token: no such file")
	servertest.WriteFiles(t, dir, map[string]string{"key": "k", "token": "a b\n"})
	check(1, "policy.bundle.token_file: the token: DIR/token is not a token (allowed: one word)")
	servertest.WriteFiles(t, dir, map[string]string{"token": "abc\n"})
	check(1, "policy.bundle.url: http://127.0.0.1:1/b: dial tcp 127.0.0.1:1: ")
}
