package opa

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// TestFaults checks that each mistake is reported in one line with one position in a file, whatever the format of
// OPA.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"syntax": {rules("x := }"), []string{"rego_parse_error: unexpected } token",
			"rego_parse_error: unexpected } token: expected rule value term (e.g., x := <VALUE> { ... })"}},
		"reference": {rules("allow if input.tls.versio"),
			[]string{`rego_type_error: undefined ref: input.tls.versio ` +
				`(have: "versio"; want (one of): ["certificate" "version"])`}},
		"types": {rules("allow if input.session.age_s == \"a\""),
			[]string{"rego_type_error: match error (left: number; right: string)"}},
		"arguments": {rules("allow if startswith(input.app)"),
			[]string{"rego_type_error: startswith: arity mismatch (have: (string); want: (search: string, base: " +
				"string))"}},
		"no value": {rules("allow if input.app.x"),
			[]string{"rego_type_error: undefined ref: input.app.x (have: string)"}},
		"twice": {rules("allow if x\n\nb if y"), []string{"rego_unsafe_var_error: var x is unsafe",
			"rego_unsafe_var_error: var y is unsafe"}},
		"two tests": {"package a\n\ntest_a if false\n\ntest_b if {\n\tprint(1)\n\tprint(2)\n\tfalse\n}\n",
			[]string{"test data.a.test_a failed", "test data.a.test_b failed: 1; 2"}},
		"test fails": {"package a\n\ntest_a if to_number(\"x\")\n",
			[]string{`test data.a.test_a failed: eval_builtin_error: ` +
				`to_number: strconv.ParseFloat: parsing "x": invalid syntax`}},
	} {
		files := []string{"a.rego", test.text}
		if strings.HasPrefix(test.text, "package a\n") {
			files = []string{"a.rego", rules("allow if true"), "a_test.rego", test.text}
		}
		for _, folder := range []string{"", "tenants/acme"} {
			root := t.TempDir()
			all := fstest.MapFS{"a.rego": {Data: []byte(rules("allow if true"))}}
			for file, f := range mapFS(files...) {
				if folder != "" {
					f.Data = bytes.Replace(f.Data, []byte("sessionserver.authz"), []byte("sessionserver.tenant"), 1)
				}
				all[filepath.Join(folder, file)] = f
			}
			if err := os.CopyFS(root, all); err != nil {
				t.Fatal(err)
			}
			_, err := Check(t.Context(), Folder(root+"/"))
			if err == nil {
				t.Errorf("%s: accepted, want an error", name)
				continue
			}
			lines := strings.Split(err.Error(), "\n")
			for i, line := range lines {
				position := regexp.MustCompile("^" + regexp.QuoteMeta(filepath.Join(root, folder)) +
					`/a(_test)?\.rego:[3-9]: `)
				if len(lines) != len(test.want) || position.ReplaceAllString(line, "") != test.want[i] {
					t.Errorf("%s: got\n%v, want\n%s", name, err, strings.Join(test.want, "\n"))
				}
			}
		}
	}
}
