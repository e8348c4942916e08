package server_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocsShowWhatRuns: the first piece of Go in a document is code that a test here runs.
func TestDocsShowWhatRuns(t *testing.T) {
	for document, file := range map[string]string{"../docs/commands.md": "example_test.go", "../docs/redis-clients.md": "redis_test.go"} {
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
				t.Errorf("%s shows what %s does not run:\n%s", document, file, part)
			}
		}
	}
}
