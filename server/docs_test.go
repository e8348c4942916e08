package server_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocsShowWhatRuns checks that the first Go code of a document is in a test of this package.
func TestDocsShowWhatRuns(t *testing.T) {
	for document, file := range map[string]string{"../docs/commands.md": "example_test.go",
		"../docs/redis-clients.md": "redis_test.go"} {
		doc, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, shown, _ := strings.Cut(string(doc), "```go\n")
		shown, _, _ = strings.Cut(shown, "```")
		for _, part := range strings.Split(shown, "\n\n") {
			if part = strings.TrimSpace(part); part == "" || !strings.Contains(string(code), part) {
				t.Errorf("%s contains code that is not in %s:\n%s", document, file, part)
			}
		}
	}
}
