package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sessionserver/atomicfile"
	"sessionserver/configs"
	"sessionserver/storage"
	"sessionserver/storage/cache"
	"sessionserver/storage/file"
	"sessionserver/storage/memory"
	"sessionserver/storage/observed"
	"sessionserver/storage/pebble"
)

// openDriver opens the store of a driver.
type openDriver func(c configs.Storage, files int, log *slog.Logger, observer storageObserver) (storage.Store, error)

// drivers are the storage drivers by their names in a configuration. A driver opens at most the given number of
// files.
var drivers = map[string]openDriver{
	"memory": func(configs.Storage, int, *slog.Logger, storageObserver) (storage.Store, error) {
		return memory.New(memory.Options{}), nil
	},
	"file": func(c configs.Storage, files int, log *slog.Logger, observer storageObserver) (storage.Store, error) {
		mode, err := file.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return file.Open(file.Options{
			Path: c.Path, Sync: mode, Failed: observer.failed, Synced: observer.Synced, Operations: files / filesAtOnce,
			Damaged: func(tenant, name string, cause error) {
				log.Error("a damaged file of a session was set aside",
					"tenant", tenant, "file", filepath.Join(c.Path, name), "err", cause)
			},
		})
	},
	"pebble": func(c configs.Storage, files int, log *slog.Logger, observer storageObserver) (storage.Store, error) {
		mode, err := pebble.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return pebble.Open(pebble.Options{
			Path: c.Path, Sync: mode, SyncInterval: c.SyncInterval, MaxOpenFiles: files,
			Logger: log, Observer: pebbleObserver{observer},
		})
	},
}

// pebbleObserver receives the failure of a disk. After it the store returns only errors until it is opened again.
type pebbleObserver struct{ observer storageObserver }

func (o pebbleObserver) Failed(err error)             { o.observer.failed(err) }
func (o pebbleObserver) WALSynced(took time.Duration) { o.observer.Synced(took) }
func (pebbleObserver) Stalled(time.Duration)          {} // visible in the duration of operations

// driverNames returns the values of storage.driver.
func driverNames() string {
	return strings.Join(slices.Sorted(maps.Keys(drivers)), ", ")
}

// openStore opens the driver that c names, behind a cache if c has one and the driver does not keep everything in
// memory.
func openStore(c configs.Storage, files int, log *slog.Logger, observer storageObserver) (*watchedStore, error) {
	if c.Driver != "memory" {
		err := claim(c.Path, c.Driver)
		if err == nil {
			err = makePrivate(c.Path, log)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open the storage: %w", err)
		}
	}
	store, err := drivers[c.Driver](c, files, log, observer)
	if err != nil {
		return nil, fmt.Errorf("cannot open the storage: %w", err)
	}
	w := &watchedStore{driver: store, observed: observed.New(store, observer)}
	w.front = w.observed
	if c.Driver != "memory" {
		w.folder = c.Path
		if c.Cache > 0 {
			w.cache = cache.New(w.observed, cache.Options{Bytes: int64(c.Cache)})
			w.front = w.cache
		}
	}
	return w, nil
}

// claim creates the folder and marks it as the driver's, if claimable permits that.
func claim(folder, driver string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	marked, err := claimable(folder, driver)
	if err != nil || marked {
		return err
	}
	return mark(folder, driver)
}

// claimable reports whether the folder has the mark of the driver. It refuses the folder of another driver: sessions
// would seem to be gone, and destroyed ids would be free again. It also refuses a folder with other content, whose
// files would be closed to their users.
func claimable(folder, driver string) (marked bool, err error) {
	name, err := owner(folder)
	switch {
	case err != nil || name == driver:
		return err == nil, err
	case name != "":
		return false, fmt.Errorf("the folder %s belongs to driver %s, not %s; choose another folder",
			folder, name, driver)
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, e := range entries { // a power failure can leave the mark empty; hidden files belong to the service's user
		if e.Name() != markName && e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), ".") {
			return false, fmt.Errorf("the folder %s is not a storage folder: it has no file %s, but holds %s; "+
				"choose an empty folder", folder, markName, e.Name())
		}
	}
	return false, nil
}

// owner returns the driver that the folder belongs to: "" for none, or for a mark whose content was lost with power.
func owner(folder string) (string, error) {
	root, err := os.OpenRoot(folder) // links lead root, who may run a check, nowhere else
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer root.Close()
	name, err := root.ReadFile(markName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.Trim(string(name), "\x00 \t\r\n"), nil
}

const markName = "DRIVER"

// mark writes the name so that a crash leaves all of it or nothing.
func mark(folder, driver string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	return atomicfile.Replace(root, markName, []byte(driver+"\n"), atomicfile.Options{})
}
