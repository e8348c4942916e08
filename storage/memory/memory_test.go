package memory_test

import (
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

var harness = storagetest.Harness{Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
	return memory.New(memory.Options{Now: now}), nil
}}

func TestConformance(t *testing.T) { storagetest.Run(t, harness) }

func BenchmarkStore(b *testing.B) { storagetest.Bench(b, harness) }
