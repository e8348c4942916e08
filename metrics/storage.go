package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/storage"
)

// Storage is the observer of a store: it is told of each operation, and of what the driver does to make data durable.
func (m *Metrics) Storage() *Storage {
	s := &Storage{m: m, operations: make(map[string]operation)}
	for _, name := range operations {
		s.operations[name] = operation{m.storageDuration.WithLabelValues(name), m.storageErrors.WithLabelValues(name)}
	}
	return s
}

// Storage counts what a store does. It is safe for concurrent use.
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

// OperationDone counts an operation. One that is not of the contract is not counted.
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

// failed reports whether an error is a failure of the storage: not if there was nothing, it cannot do it at all, or nobody waits any more.
func failed(err error) bool {
	return !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, storage.ErrClosed)
}

// Synced counts that written data was made durable.
func (s *Storage) Synced(took time.Duration) { s.m.storageSync.Observe(took.Seconds()) }
