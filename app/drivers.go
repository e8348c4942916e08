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

	"sessionserver/atomicfile"
	"sessionserver/configs"
	"sessionserver/storage"
	"sessionserver/storage/file"
	segmentlog "sessionserver/storage/log"
	"sessionserver/storage/memory"
	"sessionserver/storage/observed"
)

// openOptions are what a driver gets beside the settings of the storage.
type openOptions struct {
	files      int  // limit of open files
	acceptLoss bool // open a damaged store without what is lost
	log        *slog.Logger
	observer   storageObserver
}

// openDriver opens the store of a driver.
type openDriver func(configs.Storage, openOptions) (storage.Store, error)

// drivers are the storage drivers by their names in a configuration.
var drivers = map[string]openDriver{
	"memory": func(configs.Storage, openOptions) (storage.Store, error) {
		return memory.New(memory.Options{}), nil
	},
	"file": func(c configs.Storage, o openOptions) (storage.Store, error) {
		mode, err := file.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return file.Open(file.Options{
			Path: c.Path, Sync: mode, Failed: o.observer.failed, Synced: o.observer.Synced,
			Operations: o.files / filesAtOnce,
			Damaged: func(tenant, name string, cause error) {
				o.log.Error("a damaged file of a session was set aside",
					"tenant", tenant, "file", filepath.Join(c.Path, name), "err", cause)
			},
		})
	},
	"log": func(c configs.Storage, o openOptions) (storage.Store, error) {
		mode, err := segmentlog.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return segmentlog.Open(segmentlog.Options{
			Path: c.Path, Sync: mode, SyncInterval: c.SyncInterval, MemoryBytes: int(c.Cache),
			MaxIndexBytes: int64(c.MaxIndex), AcceptLoss: o.acceptLoss, Logger: o.log,
			Failed: o.observer.interrupted, Synced: o.observer.Synced, IndexGrown: memoryLimit(),
		})
	},
}

// driverNames returns the values of storage.driver.
func driverNames() string {
	return strings.Join(slices.Sorted(maps.Keys(drivers)), ", ")
}

// openStore opens the driver that c names.
func openStore(c configs.Storage, o openOptions) (*watchedStore, error) {
	if c.Driver != "memory" {
		err := claim(c.Path, c.Driver)
		if err == nil {
			err = makePrivate(c.Path, o.log)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open the storage: %w", err)
		}
	}
	store, err := drivers[c.Driver](c, o)
	if err != nil {
		return nil, fmt.Errorf("cannot open the storage: %w", err)
	}
	w := &watchedStore{driver: store, observed: observed.New(store, o.observer)}
	if c.Driver != "memory" {
		w.folder = c.Path
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
