package storage

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound reports that no live record exists under the key, be it absent or expired.
	ErrNotFound = errors.New("storage: no such record")

	// ErrClosed reports that the store was closed.
	ErrClosed = errors.New("storage: closed")

	// ErrLocked reports that another process uses the store's folder.
	ErrLocked = errors.New("storage: the folder is in use by another process")

	// ErrCorrupt reports that the stored record is damaged.
	ErrCorrupt = errors.New("storage: corrupt record")
)

// ID is the SHA-256 of a session id. The id itself never reaches a driver.
type ID [32]byte

// Key names one record.
type Key struct {
	Tenant string // non-empty, at most 64 bytes
	ID     ID
}

// Record is the data that a driver keeps under a key.
type Record struct {
	Data    []byte
	Expires time.Time // truncated to the millisecond; the record is gone from this instant on
	Marker  bool      // found like any other record, but not counted in Usage
}

// Store keeps records. The package documentation is the contract of all methods.
type Store interface {
	// Get returns the live record under key, or ErrNotFound.
	Get(ctx context.Context, key Key) (Record, error)

	// Put writes the record under key and replaces the previous one. A record that has already expired deletes it.
	Put(ctx context.Context, key Key, rec Record) error

	// Touch moves the expiry of the live record under key to expires if that is later; it never shortens a lifetime.
	// It returns ErrNotFound if no live record exists or the record is a Marker.
	Touch(ctx context.Context, key Key, expires time.Time) error

	// Delete removes the record under key. Deleting an absent record is not an error.
	Delete(ctx context.Context, key Key) error

	// Close releases all resources of the store.
	Close() error
}
