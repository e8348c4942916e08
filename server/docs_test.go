package server_test

import (
	"os"
	"strings"
	"testing"
)

// TestCommandsDocShowsTheExample: the code that docs/commands.md shows is the code that the Example runs.
func TestCommandsDocShowsTheExample(t *testing.T) {
	doc, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(doc), "```go\n")
	shown, _, _ = strings.Cut(shown, "```")
	for _, part := range strings.Split(shown, "\n\n") {
		if part = strings.TrimSpace(part); part == "" || !strings.Contains(string(code), part) {
			t.Errorf("docs/commands.md shows what example_test.go does not run:\n%s", part)
		}
	}
}
