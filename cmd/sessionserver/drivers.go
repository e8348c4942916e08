package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sessionserver/configs"
	"sessionserver/storage"
	"sessionserver/storage/cache"
	"sessionserver/storage/file"
	"sessionserver/storage/memory"
	"sessionserver/storage/pebble"
)

// drivers are the storage drivers by the name they have in a configuration. failed is told if the store cannot go on.
var drivers = map[string]func(c configs.Storage, log *slog.Logger, failed func(error)) (storage.Store, error){
	"memory": func(configs.Storage, *slog.Logger, func(error)) (storage.Store, error) {
		return memory.New(memory.Options{}), nil
	},
	"file": func(c configs.Storage, _ *slog.Logger, _ func(error)) (storage.Store, error) {
		mode, err := file.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return file.Open(file.Options{Path: c.Path, Sync: mode})
	},
	"pebble": func(c configs.Storage, log *slog.Logger, failed func(error)) (storage.Store, error) {
		mode, err := pebble.ParseSyncMode(c.Sync)
		if err != nil {
			return nil, err
		}
		return pebble.Open(pebble.Options{
			Path: c.Path, Sync: mode, SyncInterval: c.SyncInterval, Logger: log, Observer: pebbleObserver{failed},
		})
	},
}

// pebbleObserver hears when the disk has failed, after which the store answers nothing but errors until it is opened again.
type pebbleObserver struct{ failed func(error) }

func (o pebbleObserver) Failed(err error)      { o.failed(err) }
func (pebbleObserver) WALSynced(time.Duration) {}
func (pebbleObserver) Stalled(time.Duration)   {}

// driverNames lists what storage.driver may be.
func driverNames() string {
	return strings.Join(slices.Sorted(maps.Keys(drivers)), ", ")
}

// openStore opens the driver that c names, behind a cache if c asks for one and the driver does not keep everything in memory anyhow.
func openStore(c configs.Storage, log *slog.Logger, failed func(error)) (storage.Store, error) {
	store, err := drivers[c.Driver](c, log, failed)
	if err != nil {
		return nil, fmt.Errorf("cannot open the storage: %w", err)
	}
	if c.Cache > 0 && c.Driver != "memory" {
		store = cache.New(store, cache.Options{Bytes: int64(c.Cache)})
	}
	return store, nil
}
