package server_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/session"
	"sessionserver/wire/transcript"
)

var update = flag.Bool("update", false, "update the transcripts with the current replies")

// TestTranscripts plays every conversation in testdata/transcripts against a server of its own.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			settings := session.DefaultSettings()
			if filepath.Base(file) == "savehandler.txt" {
				settings.Strict = false // PHP creates the ids
			}
			actual, err := play(t, settings, file, string(text))
			if *update && actual != "" {
				err = os.WriteFile(file, []byte(actual), 0o644)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func play(t *testing.T, settings session.Settings, name, text string) (actual string, err error) {
	script, err := transcript.Parse(name, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return script.Play(ctx, servertest.Start(t, servertest.Config{Settings: settings}).Dial)
}

// TestDocumentedConversations plays every conversation in the documentation.
func TestDocumentedConversations(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../README.md", "../wire/PROTOCOL.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for i, part := range strings.Split(string(text), "```") {
			if script, found := strings.CutPrefix(part, "transcript\n"); found && i%2 == 1 {
				script = strings.Repeat("\n", line) + script // for the line numbers of the file in messages
				t.Run(fmt.Sprintf("%s:%d", filepath.Base(file), line), func(t *testing.T) {
					t.Parallel()
					if _, err := play(t, session.DefaultSettings(), file, script); err != nil {
						t.Error(err)
					}
				})
			}
			line += strings.Count(part, "\n")
		}
	}
}
