package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/storage"
)

// Storage returns the observer of a store, for its operations and for the syncs of its driver.
func (m *Metrics) Storage() *Storage {
	s := &Storage{m: m, operations: make(map[string]operation)}
	for _, name := range operations {
		s.operations[name] = operation{m.storageDuration.WithLabelValues(name), m.storageErrors.WithLabelValues(name)}
	}
	return s
}

// Storage counts the operations of a store. It is safe for concurrent use.
type Storage struct {
	m          *Metrics
	operations map[string]operation
}

type operation struct {
	duration prometheus.Observer
	errors   prometheus.Counter
}

// operations are those of the contract of package storage.
var operations = []string{"get", "put", "touch", "delete", "put_all", "sweep", "usage", "drop_tenant"}

// OperationDone counts an operation of the contract, and ignores others.
func (s *Storage) OperationDone(name string, took time.Duration, err error) {
	op, ok := s.operations[name]
	if !ok {
		return
	}
	op.duration.Observe(took.Seconds())
	if err != nil && failed(err) {
		op.errors.Inc()
	}
}

// failed reports whether an error is a failure of the storage. An absent record, an unsupported operation, a closed
// store and a caller that stopped waiting are not.
func failed(err error) bool {
	return !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, storage.ErrClosed)
}

// Synced observes the duration of a sync.
func (s *Storage) Synced(took time.Duration) { s.m.storageSync.Observe(took.Seconds()) }
