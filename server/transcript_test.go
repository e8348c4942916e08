package server_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/wire/transcript"
)

var update = flag.Bool("update", false, "write down in the transcripts what the server says now")

// TestTranscripts plays every conversation in testdata/transcripts against a server of its own.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			script, err := transcript.Parse(file, f)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			actual, err := script.Play(ctx, servertest.Start(t, servertest.Config{}).Dial)
			if *update && actual != "" {
				err = os.WriteFile(file, []byte(actual), 0o644)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
