package session_test

import (
	"testing"

	"sessionserver/storage"
	"sessionserver/storage/file"
	"sessionserver/storage/log"
	"sessionserver/storage/memory"
)

// drivers are the stores under which sessions are tested. With all of them an acknowledged write outlives the
// process. Only drivers with disk set wait for the disk.
var drivers = []struct {
	name string
	disk bool
	open func(testing.TB) (storage.Store, error)
}{
	{"memory", false, func(testing.TB) (storage.Store, error) { return memory.New(memory.Options{}), nil }},
	{"file", false, func(t testing.TB) (storage.Store, error) {
		return file.Open(file.Options{Path: t.TempDir(), Sync: file.SyncNever})
	}},
	{"file+sync", true, func(t testing.TB) (storage.Store, error) {
		return file.Open(file.Options{Path: t.TempDir(), Sync: file.SyncAlways})
	}},
	{"log", false, openLog(log.SyncNever)},
	{"log+sync", true, openLog(log.SyncAlways)},
}

func openLog(mode log.SyncMode) func(testing.TB) (storage.Store, error) {
	return func(t testing.TB) (storage.Store, error) {
		return log.Open(log.Options{Path: t.TempDir(), Sync: mode})
	}
}

// open opens a store that is closed at the end of the test.
func open(t testing.TB, opener func(testing.TB) (storage.Store, error)) storage.Store {
	t.Helper()
	store, err := opener(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
