package configs

import (
	"errors"
	"strings"
	"testing"
)

// TestMistakes checks that each mistake is reported with its line, its key and the allowed values. All mistakes of a
// file are reported at once.
func TestMistakes(t *testing.T) {
	const listener = "listen:\n- name: a\n  address: ':1'\n  allow: [127.0.0.1]\n"
	for name, row := range map[string]struct {
		text string
		want string // the whole error; a line that ends in … is the beginning of one
	}{
		// The file as a whole.
		"empty":         {"", "f: the file is empty"},
		"blank":         {" \n\n", "f: the file is empty"},
		"comments only": {"# nothing\n", "f: the file is empty"},
		"nothing":       {"---\n", "f: the file is empty"},
		"null":          {"null\n", "f: the file is empty"},
		"a word":        {"\nhello\n", `f:2: "hello" (allowed: settings: listen, public_address, tenants, tls, policy, admin, storage, session, quotas, rates, limits, audit, metrics, log)`},
		"a list":        {"- a\n", "f:1: a list (allowed: settings: listen, …"},
		"several":       {"log: {level: info}\n---\nlog: {level: debug}\n", "f:2: second document (allowed: one)"},
		"several, mistake": {"log: {level: loud}\n---\nx: 1\n",
			"f:1: log.level: \"loud\" (allowed: …\nf:2: second document (allowed: one)"},
		"too large":      {"#" + strings.Repeat("x", 1<<20), "f: the file is too large (allowed: 1MiB)"},
		"other encoding": {"\xff\xfe", "f: the file is empty"},
		"tab": {"log:\n\tlevel: info\n", "f:2: invalid YAML: while scanning for the next token: found " +
			"character that cannot start any token"},
		"unfinished list": {"listen: [\n", "f:2: invalid YAML: while parsing a flow node: …"},
		"indentation": {"log:\n  level: info\n    format: text\n",
			"f:3: invalid YAML: mapping values are not allowed in this context"},
		"NUL": {"log: \x00\n", "f: invalid YAML: control characters are not allowed …"},
		"deep": {strings.Repeat("[", 20_000),
			"f:1: invalid YAML: while increasing flow level: exceeded max depth of 10000"},
		"unknown anchor": {"log: *what\n", "f:1: invalid YAML: unknown anchor 'what' referenced"},

		// Features of YAML that a configuration does not need.
		"alias": {"storage: {path: &p /a}\nadmin:\n  address: *p\n",
			"f:3: admin.address: alias \"p\" (allowed: its value, written out)"},
		"bomb": {"x: &a [1, 1, 1, 1]\ny: &b [*a, *a, *a, *a]\nlisten: &c [*b, *b]\n",
			"f:1: x: unknown setting …\nf:2: y: unknown setting …\nf:3: listen[0]: alias \"b\" …\n" +
				"f:3: listen[1]: alias \"b\" …"},
		"eats itself": {"listen: &l [*l]\n", "f:1: listen[0]: alias \"l\" (allowed: its value, written out)"},
		"alias a key": {"log: {level: &k info}\n? *k\n: 1\n", "f:2: ?: unknown setting …"},
		"merge": {"log: &l {level: info}\nadmin:\n  <<: *l\n",
			`f:3: admin."<<": unknown setting (allowed: address, token_file, client_ca, certificate, key, profiles)`},
		"tag":     {"log: {level: !!str info}\n", "f:1: log.level: tag \"!!str\" (allowed: a value without a tag)"},
		"own tag": {"log: !mine {level: info}\n", "f:1: log: tag \"!mine\" (allowed: a value without a tag)"},
		"complex": {"? [a, b]\n: c\n", "f:1: ?: unknown setting …"},
		"key twice": {"log:\n  level: info\n  format: text\n  level: debug\n",
			"f:4: log.level: duplicate, first in line 2"},
		"group twice": {"log:\n  level: loud\nadmin:\n  address: x\nlog:\n  format: json\n",
			"f:2: log.level: \"loud\" …\nf:4: admin.address: \"x\" (allowed: host:port, unix:/path, or nothing)\n" +
				"f:5: log: duplicate, first in line 1"},
		"in a list twice": {"listen:\n- name: a\n  name: b\n  address: ':1'\n  allow: [\"::1\"]\n",
			"f:3: listen[0].name: duplicate, first in line 2"},

		// Unknown settings.
		"unknown": {"storage:\n  drivr: file\n", "f:2: storage.drivr: unknown setting (allowed: driver, " +
			"path, sync, sync_interval, cache, …"},
		"unknown at top": {"sessions: {}\n", "f:1: sessions: unknown setting (allowed: listen, public_address, " +
			"tenants, tls, policy, admin, storage, session, quotas, rates, limits, audit, metrics, log)"},
		"other case":      {"Log: {}\n", `f:1: "Log": unknown setting …`},
		"a field of Go's": {"file: x\nlines: {}\n", "f:1: file: unknown setting …\nf:2: lines: unknown setting …"},
		"dotted":          {"storage.driver: file\n", `f:1: "storage.driver": unknown setting …`},
		"unprintable":     {"\"a\\nb\": 1\n", `f:1: "a\nb": unknown setting …`},
		"empty key":       {"\"\": 1\n", `f:1: "": unknown setting …`},
		"long key":        {strings.Repeat("k", 1000) + ": 1\n", `f:1: "` + strings.Repeat("k", 40) + `": unknown setting …`},
		"in a list": {listener + "  port: 1\n", "f:5: listen[0].port: unknown setting (allowed: name, " +
			"address, plaintext, allow, deny, proxies, anonymous, client_certificates, client_ca)"},

		// Values of the wrong kind.
		"list for settings":   {"log: [1]\n", "f:1: log: a list (allowed: settings: level, format)"},
		"word for settings":   {"log: info\n", `f:1: log: "info" (allowed: settings: level, format)`},
		"word for list":       {"listen: ':9090'\n", `f:1: listen: ":9090" (allowed: a list)`},
		"settings for list":   {"listen:\n  name: a\n", "f:1: listen: a group of settings (allowed: a list)…"},
		"nothing for list":    {"listen:\n", "f:1: listen: no value (allowed: a list)"},
		"nothing for text":    {"storage:\n  path:\n", `f:2: storage.path: no value (allowed: text; "" for none)`},
		"list for text":       {"storage:\n  path: [a]\n", `f:2: storage.path: a list (allowed: text; "" for none)`},
		"text for number":     {"session:\n  max_keys: many\n", `f:2: session.max_keys: "many" (allowed: a whole number)`},
		"fraction for number": {"session:\n  max_keys: 1.5\n", `f:2: session.max_keys: "1.5" (allowed: a whole number)`},
		"huge number":         {"session:\n  max_keys: 99999999999999999999\n", `f:2: session.max_keys: "99999999999999999999" (allowed: a whole number)`},
		"hexadecimal":         {"session:\n  max_keys: 0x10\n", `f:2: session.max_keys: "0x10" (allowed: a whole number)`},
		"nothing for number": {"session:\n  max_keys: ~\n",
			"f:2: session.max_keys: no value (allowed: a whole number)"},
		"yes for true":      {"session:\n  strict: yes\n", `f:2: session.strict: "yes" (allowed: true, false)`},
		"number for true":   {"session:\n  strict: 1\n", `f:2: session.strict: "1" (allowed: true, false)`},
		"time without unit": {"session:\n  lifetime: 24\n", `f:2: session.lifetime: "24" (allowed: a duration such as 24m, 1h30m or 250ms)`},
		"time in days":      {"session:\n  lifetime: 1d\n", `f:2: session.lifetime: "1d" (allowed: a duration such as 24m, 1h30m or 250ms)`},
		"settings for time": {"session:\n  lifetime: {m: 24}\n",
			"f:2: session.lifetime: a group of settings (allowed: a duration …"},
		"size":          {"storage:\n  cache: 64MB\n", `f:2: storage.cache: "64MB" is not a size (allowed: a whole number of bytes, such as 4096, …`},
		"list for size": {"storage:\n  cache: [1]\n", "f:2: storage.cache: a list (allowed: one value)"},
		"range": {"listen:\n- name: a\n  address: ':1'\n  allow:\n  - 10.0.0.0/8\n  - 10.1.0.0/8\n  - home\n",
			"f:6: listen[0].allow[1]: \"10.1.0.0/8\" has bits set beyond its prefix length; write 10.0.0.0/8\n" +
				"f:7: listen[0].allow[2]: \"home\" is not an address range …"},
		"nothing for range": {"listen:\n- name: a\n  address: ':1'\n  allow: [~]\n",
			"f:4: listen[0].allow[0]: no value (allowed: one value)"},
		"word for listener":     {"listen: [':9090', {name: b, address: ':1', allow: ['::1']}]\n", `f:1: listen[0]: ":9090" (allowed: settings: name, …`},
		"long value":            {"log: {level: " + strings.Repeat("x", 1000) + "}\n", `f:1: log.level: "` + strings.Repeat("x", 80) + `" (allowed: …`},
		"long value for number": {"limits: {args: " + strings.Repeat("x", 1000) + "}\n", `f:1: limits.args: "` + strings.Repeat("x", 80) + `" (allowed: …`},

		// Values out of range.
		"no listener": {"listen: []\n", "f:1: listen: no listener (allowed: one or more)"},
		"empty listener": {"listen:\n- name: a\n  address: ':1'\n  allow: ['::1']\n-\n",
			"f:5: listen[1].name: \"\" …\nf:5: listen[1].address: \"\" …\n" +
				"f:5: listen[1].allow: no address is admitted …"},
		"same name": {"listen:\n- {name: a, address: ':1', allow: ['::1']}\n" +
			"- {name: a, address: ':2', allow: ['::1']}\n",
			`f:3: listen[1].name: "a" (allowed: a name that no other listener has)`},
		"addresses": {"listen:\n- {name: a, address: localhost, allow: ['::1']}\n" +
			"- {name: b, address: 'h:http', allow: ['::1']}\n- {name: c, address: 'h:65536', allow: ['::1']}\n" +
			"- {name: d, address: unix:x}\n- {name: e, address: 'h:-1', allow: ['::1']}\n",
			"f:2: listen[0].address: …\nf:3: listen[1].address: …\nf:4: listen[2].address: …\n" +
				"f:5: listen[3].address: \"unix:x\" (allowed: host:port, or unix:/path)\nf:6: listen[4].address: …"},
		"plaintext": {listener + "  plaintext: sometimes\n", `f:5: listen[0].plaintext: "sometimes" (allowed: loopback, never, always)`},
		"never without TLS": {listener + "  plaintext: never\n- {name: b, address: 'unix:/b', plaintext: never}\n",
			"f:5: listen[0].plaintext: \"never\" without TLS: no client could connect (allowed: …\n" +
				"f:6: listen[1].plaintext: \"never\" without TLS: …"},
		"no allow": {"listen:\n- name: a\n  address: ':1'\n", "f:2: listen[0].allow: no address is " +
			"admitted (allowed: address ranges; everybody is 0.0.0.0/0 and ::/0)"},
		"empty allow": {"listen:\n- name: a\n  address: ':1'\n  allow: []\n",
			"f:4: listen[0].allow: no address is admitted …"},
		"proxies of a socket": {"listen:\n- name: a\n  address: unix:/a\n  proxies: [10.0.0.0/8]\n",
			"f:4: listen[0].proxies: balancers cannot …"},
		"quotas and rates": {"quotas: {sessions: -1, bytes: 1MiB, connections: 99999999, waiters: no, memory: 1}\n" +
			"rates:\n  on_limit: wait\n  tenant: {per_second: 1, burst: 7}\n" +
			"  app: {per_second: 0, burst: 7}\n  address: {per_second: 0.5, burst: 8}\n" +
			"  session_creation: {per_second: 1e3}\n  auth_failures: {per_second: 1, burst: 0}\n" +
			"  unauthenticated:\n    per_second: 0.0001\n    burst: -1\n",
			`f:1: quotas.waiters: "no" (allowed: a whole number)
f:1: quotas.sessions: -1 (allowed: 0 to 1125899906842624)
f:1: quotas.connections: 99999999 (allowed: 0 to 10000000)
f:1: quotas.memory: 1 (allowed: 1MiB to 1048576GiB)
f:3: rates.on_limit: "wait" (allowed: reject, delay)
f:4: rates.tenant.burst: 7 (allowed: 8 to 10000000)
f:7: rates.session_creation.per_second: "1e3" (allowed: a number such as 100 or 0.5)
f:8: rates.auth_failures.burst: 0 (allowed: 1 to 10000000)
f:10: rates.unauthenticated.per_second: 0.0001 (allowed: 0.001 to 1000000, or 0 for no limit)
f:11: rates.unauthenticated.burst: -1 (allowed: 8 to 10000000)`},
		"tls": {listener +
			"  client_certificates: required\n  client_ca: ca.pem\n" +
			"- {name: b, address: ':2', allow: ['::1'], client_certificates: maybe}\n" +
			"- {name: c, address: ':3', allow: ['::1'], client_ca: ca.pem}\n" +
			"tls:\n  handshake_timeout: 1ms\n  handshakes_per_ip: 0\n  acme:\n    email: x\n    storage: ''\n" +
			"    directory: 1\n    http_address: x\n",
			`f:5: listen[0].client_certificates: "required" without TLS (allowed: none, unless …
f:7: listen[1].client_certificates: "maybe" (allowed: none, optional, required)
f:7: listen[1].client_certificates: "maybe" without TLS …
f:8: listen[2].client_ca: "ca.pem", although client_certificates is none …
f:10: tls.handshake_timeout: 1ms (allowed: 100ms to 1m0s)
f:11: tls.handshakes_per_ip: 0 (allowed: 1 to 1000000)`},
		"acme": {listener +
			"  client_certificates: optional\ntls:\n  certificates: [{cert: a}, {key: b}]\n  acme:\n" +
			"    names: [UP.example.com, '*.example.com', 1.2.3.4]\n    email: x\n" +
			"    storage: ''\n    directory: http://x\n    http_address: x\n    on_demand: true\n",
			`f:2: listen[0].client_ca: missing (allowed: the PEM file …
f:7: tls.certificates[0].key: missing (allowed: a PEM file)
f:7: tls.certificates[1].cert: missing …
f:8: tls.acme.agree_terms: false (allowed: true, once you have read …
f:9: tls.acme.names[0]: "UP.example.com" (allowed: a name such as sessions.example.com, in lower case)
f:9: tls.acme.names[1]: "*.example.com" is a wildcard (allowed with a dns_program)
f:9: tls.acme.names[2]: "1.2.3.4" (allowed: …
f:10: tls.acme.email: "x" (allowed: an address, or nothing)
f:11: tls.acme.storage: missing (allowed: a folder)
f:12: tls.acme.directory: "http://x" (allowed: https://…)
f:13: tls.acme.http_address: "x" (allowed: host:port such as :80, or nothing)
f:14: tls.acme.on_demand: true without tenants …`},
		"audit": {"audit:\n  output: sylog\n  events: []\n  sync: true\n  max_size: 1KiB\n  max_age: 1s\n" +
			"  keep: -1\n  on_failure: ignore\n" +
			"  decisions:\n    output: syslog:udp://h\n    sample: 1.5\n    keys: some\n",
			`f:2: audit.output: "sylog" (allowed: stdout, syslog, syslog:udp://host:port, …
f:3: audit.events: empty (allowed: all, or event codes; see docs/audit.md)
f:4: audit.sync: true (allowed: false, unless output is a file)
f:5: audit.max_size: 1KiB (allowed: 1MiB to 1024GiB, or 0 for no limit)
f:6: audit.max_age: 1s (allowed: 1m0s to 87600h0m0s, or 0 for no limit)
f:7: audit.keep: -1 (allowed: 0 to 10000)
f:8: audit.on_failure: "ignore" (allowed: refuse, continue)
f:10: audit.decisions.output: "syslog:udp://h" (allowed: stdout, …
f:11: audit.decisions.sample: 1.5 (allowed: 0 to 1)
f:12: audit.decisions.keys: "some" (allowed: hash, clear)`},
		"bundle": {"policy:\n  folder: /p\n  bundle:\n    url: ftp://x/?hss_secret\n    algorithm: none\n" +
			"    poll: 1ms\n    keep: ''\n",
			`f:2: policy.folder: "/p", although policy.bundle.url is set (allowed: one of the two)
f:3: policy.bundle.key_file: missing (allowed: the PEM file …
f:4: policy.bundle.url: invalid URL (allowed: https://…, …
f:5: policy.bundle.algorithm: "none" (allowed: ES256, ES384, …
f:6: policy.bundle.poll: 1ms (allowed: 1s to 24h0m0s)
f:7: policy.bundle.keep: missing (allowed: a folder, …`},
		"no bundle": {"policy: {bundle: {key_file: k.pem}}\n", `f:1: policy.bundle.key_file: "k.pem" without a bundle …`},
		"policy": {"policy: {timeout: 1m, cache: 1}\n",
			"f:1: policy.timeout: 1m0s (allowed: 1ms to 10s)\nf:1: policy.cache: 1 (allowed: 16 to 16777216)"},
		"acme on sockets": {"listen: [{name: a, address: unix:/a}]\n" +
			"tls: {acme: {names: [a.example.com], agree_terms: true}}\n",
			"f:2: tls.acme: the authority cannot connect to any listener …"},
		"acme twice": {"tls: {acme: {names: ['*.example.com'], agree_terms: true, http_address: ':80', " +
			"dns_program: x}}\n",
			"f:1: tls.acme.http_address: set although dns_program is set …"},
		"a secret": {"storage:\n  driver: [hss_abc]\n  hss_XYZ: 1\n  cache: =hss_0123=\nlog: *hss_9\n",
			"f:5: invalid YAML: unknown anchor 'hss_…' referenced"},
		"a secret in values": {"storage:\n  hss_XYZ: 1\n  cache: =hss_0123=\n" +
			"hss_1234567890123456789012345678901234567890123456789: 1\n",
			"f:2: storage.\"hss_…\": unknown …\nf:3: storage.cache: \"=hss_…=\" is not a size …\n" +
				"f:4: hss_…: unknown setting …"},
		"everything": {"storage:\n  sync: sometimes\n  sync_interval: 0\n  sweep_interval: 1ms\n  sweep_batch: 0\n" +
			"  path: ''\n" +
			"limits:\n  line: 1\n  value: 1GiB\n  request: 1\n  args: 1\n  connections: 0\n" +
			"  connections_per_ip: -1\n  idle_timeout: -1s\n  idle_in_session_timeout: 25h\n" +
			"  request_timeout: 0s\n  write_timeout: 1ns\n  error_budget: 0\n  drain_timeout: 9999h\nlog:\n" +
			"  level: x\n  format: y\nadmin:\n  address: z\n",
			`f:2: storage.sync: "sometimes" (allowed: always, interval, never)
f:3: storage.sync_interval: 0s (allowed: 1ms to 1m0s)
f:4: storage.sweep_interval: 1ms (allowed: 10ms to 1h0m0s)
f:5: storage.sweep_batch: 0 (allowed: 1 to 100000)
f:6: storage.path: missing (allowed: a folder)
f:8: limits.line: 1 (allowed: 1KiB to 1MiB)
f:9: limits.value: 1GiB (allowed: 1KiB to 16MiB)
f:10: limits.request: 1 (allowed: …
f:11: limits.args: 1 (allowed: 16 to 16384)
f:12: limits.connections: 0 (allowed: 1 to 10000000)
f:13: limits.connections_per_ip: -1 (allowed: 1 to 10000000)
f:14: limits.idle_timeout: -1s (allowed: 1s to 24h0m0s)
f:15: limits.idle_in_session_timeout: 25h0m0s (allowed: 1s to 24h0m0s)
f:16: limits.request_timeout: 0s (allowed: 100ms to 1h0m0s)
f:17: limits.write_timeout: 1ns (allowed: 100ms to 1h0m0s)
f:18: limits.error_budget: 0 (allowed: 1 to 1000000)
f:19: limits.drain_timeout: 9999h0m0s (allowed: 1ms to 1h0m0s)
f:21: log.level: "x" (allowed: debug, info, warn, error)
f:22: log.format: "y" (allowed: auto, text, json)
f:24: admin.address: "z" (allowed: host:port, unix:/path, or nothing)`},
		"no end of it": {"listen: [" + strings.Repeat("x,", 5_000) + "]\n",
			strings.Repeat("f:1: listen[…\n", 100) + "f: and 4900 more"},
		"kind and range": {"storage: {cache: x}\nlog: {level: y}\nnone: 1\n",
			"f:1: storage.cache: \"x\" is not …\nf:2: log.level: \"y\" …\nf:3: none: unknown setting …"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Parse("f", []byte(row.text))
			var problems Problems
			if !errors.As(err, &problems) || cfg != nil {
				t.Fatalf("got %v, %v", cfg, err)
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(row.want, "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !matches(got[i], want[i]) {
					t.Fatalf("got:\n%.2000s\nwant:\n%s", err, row.want)
				}
			}
		})
	}
}

// matches reports whether text is want or, if want ends in …, begins with it.
func matches(text, want string) bool {
	beginning, cut := strings.CutSuffix(want, "…")
	return text == want || cut && strings.HasPrefix(text, beginning)
}

// TestProblemLines checks that a problem with a key that is not in the file has the line of the group that the key
// belongs to.
func TestProblemLines(t *testing.T) {
	cfg, err := Parse("f", []byte("# one\nlisten:\n  - name: a\n    address: ':1'\n    allow:\n      - 127.0.0.1\n"+
		"      - ::1\nsession:\n  strict: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int{
		"listen": 2, "listen[0]": 3, "listen[0].name": 3, "listen[0].address": 4, "listen[0].allow": 5,
		"listen[0].allow[1]": 7, "listen[0].anonymous": 3,
		"listen[7]": 2, "listen[7].name": 2, "session": 8, "session.strict": 9, "session.lifetime": 8, "log": 0,
		"log.level": 0, "": 0, ".": 0, "[": 0,
	} {
		if p := cfg.Problem(key, "%d", 1); p.Line != want || p.File != "f" || p.Key != key || p.Text != "1" {
			t.Errorf("%q: %+v, want line %d", key, p, want)
		}
	}
	for p, want := range map[Problem]string{
		{File: "f", Text: "t"}:                    "f: t",
		{File: "f", Line: 7, Text: "t"}:           "f:7: t",
		{File: "f", Key: "a.b", Text: "t"}:        "f: a.b: t",
		{File: "f", Line: 7, Key: "k", Text: "t"}: "f:7: k: t",
	} {
		if p.Error() != want {
			t.Errorf("%+v: %s", p, p.Error())
		}
	}
}

// FuzzParse checks that every file either loads as a valid configuration, or fails with the line of each problem.
func FuzzParse(f *testing.F) {
	f.Add(Reference)
	f.Add(Dev)
	f.Add([]byte("x: &a [1, 1]\nlisten: [*a, *a]\n---\n- 1\n"))
	f.Add([]byte("listen: &l [{allow: [*l, ::1]}]\nlog: !!map {level: |\n  x\n ? [a]\n : b\n"))
	f.Add([]byte("? !!binary aGVsbG8=\n: <<\n'<<': {a: 1}\n" +
		"session: {lifetime: 1e9h, max_bytes: .5GiB, max_value: \"\\u2028\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("f", data)
		if err == nil {
			if problems := cfg.Validate(); len(problems) > 0 {
				t.Fatalf("an invalid configuration was loaded: %v", problems)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || cfg != nil {
			t.Fatalf("got %v, %v", cfg, err)
		}
		// YAML may report the end of the file
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines && !strings.ContainsAny(string(data), "\u0085\u2028\u2029") ||
				p.Text == "" {
				t.Errorf("%+v in a file of %d lines", p, lines)
			}
			if strings.ContainsAny(p.Error(), "\n\x00") || len(p.Error()) > 1000 {
				t.Errorf("not fit to be shown: %q", p.Error())
			}
		}
	})
}
