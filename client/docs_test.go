package client_test

import (
	"os"
	"strings"
	"testing"

	"sessionserver/server/servertest/require"
)

// TestDocs verifies that every code block in docs/go.md is part of an example, which the tests run.
func TestDocs(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			lines[i] = strings.TrimSpace(line)
		}
		return strings.Join(lines, "\n")
	}
	examples := read("example_test.go")
	blocks := strings.Split(read("../docs/go.md"), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("docs/go.md has no code block")
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		if !strings.Contains(examples, "\n"+code) {
			t.Errorf("no example contains this code block of docs/go.md:\n%s", code)
		}
	}
}
