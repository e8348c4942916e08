package client_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocs holds every piece of Go in docs/go.md against the examples, which run.
func TestDocs(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		must(t, err)
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			lines[i] = strings.TrimSpace(line)
		}
		return strings.Join(lines, "\n")
	}
	examples := read("example_test.go")
	pieces := strings.Split(read("../docs/go.md"), "```go\n")[1:]
	if len(pieces) == 0 {
		t.Fatal("docs/go.md shows no Go")
	}
	for _, piece := range pieces {
		code, _, _ := strings.Cut(piece, "```")
		if !strings.Contains(examples, "\n"+code) {
			t.Errorf("no example runs this piece of docs/go.md:\n%s", code)
		}
	}
}
