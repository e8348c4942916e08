package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/configs"
)

// TestDocumentedConfigurations checks that the configurations and tenants in the documents are valid.
func TestDocumentedConfigurations(t *testing.T) {
	found := 0
	for _, document := range []string{"../../README.md", "../../docs/hosting.md", "../../docs/monitoring.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(block[1], "livenessProbe:") {
				continue // Kubernetes'
			}
			found++
			if strings.Contains(block[1], "\napps:") {
				main := configs.Default()
				_, err = configs.ParseTenant("acme.yaml", []byte(block[1]), &main, tenants.Inspect)
			} else {
				_, err = configs.Parse("sessionserver.yaml", []byte(block[1]), app.Inspect)
			}
			if err != nil {
				t.Errorf("%s:\n%v", document, err)
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d configurations were found", found)
	}
}
