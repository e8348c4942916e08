package grafana

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSchema: Grafana's own types, as its makers publish them, know every field of the dashboards and take every value.
func TestSchema(t *testing.T) {
	compiler := "schema/node_modules/typescript/bin/tsc"
	if _, err := os.Stat(compiler); err != nil && os.Getenv("SESSIONSERVER_TEST_ALL") == "" {
		t.Skip("needs Grafana's types; make setup installs them")
	}
	dir, err := os.MkdirTemp("schema", "test") // where the compiler finds the types
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name, text string) {
		t.Helper()
		text = "import type { Shipped } from '../dashboard';\n\nexport const dashboard: Shipped = " + text
		if err := os.WriteFile(filepath.Join(dir, name+".ts"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range Dashboards() {
		write(d.UID, encode(t, d))
	}
	whole := encode(t, tenant())
	wrong := map[string][2]string{
		"value": {`"drawStyle": "line"`, `"drawStyle": "crayon"`}, "type": {`"uid": "sessionserver-tenant"`, `"uid": 1`},
		"option": {`"displayMode": "gradient"`, `"displayModus": "gradient"`}, "query": {`"instant": false`, `"instantly": false`},
	}
	for name, change := range wrong {
		text := strings.Replace(whole, change[0], change[1], 1)
		if text == whole {
			t.Fatalf("there is no %s to make wrong", change[0])
		}
		write("wrong-"+name, text)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.ts"))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{compiler, "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"}, files...)
	said, err := exec.CommandContext(t.Context(), "node", args...).Output()
	if err == nil {
		t.Fatal("the compiler takes everything for right")
	}
	caught := map[string]bool{}
	for line := range strings.Lines(string(said)) {
		name, _, _ := strings.Cut(filepath.Base(strings.SplitN(line, "(", 2)[0]), ".")
		if change := strings.TrimPrefix(name, "wrong-"); change != name {
			caught[change] = true
		} else if !strings.HasPrefix(line, " ") {
			t.Error(strings.TrimSpace(line))
		}
	}
	for name, change := range wrong {
		if !caught[name] {
			t.Errorf("%s is taken for right", change[1])
		}
	}
}
