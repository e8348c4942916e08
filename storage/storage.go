package storage

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that there is no live record under the key: absent and expired are the same answer.
	ErrNotFound = errors.New("storage: no such record")

	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("storage: closed")

	// ErrLocked says that another process holds the store's folder.
	ErrLocked = errors.New("storage: the folder is in use by another process")

	// ErrCorrupt says that what the store holds under the key cannot be what was put there.
	ErrCorrupt = errors.New("storage: corrupt record")
)

// ID is the SHA-256 of a session id. The id itself never reaches a driver.
type ID [32]byte

// Key names one record.
type Key struct {
	Tenant string // non-empty, at most 64 bytes
	ID     ID
}

// Record is what a driver keeps under a key.
type Record struct {
	Data    []byte
	Expires time.Time // cut to the millisecond; the record is gone from this instant on
	Marker  bool      // found like any other record, counted in no Usage
}

// Store keeps records. See the package documentation for the contract that all methods share.
type Store interface {
	// Get answers the live record under key, or ErrNotFound.
	Get(ctx context.Context, key Key) (Record, error)

	// Put writes the record under key, replacing what is there. A record that has expired already is as good as deleted.
	Put(ctx context.Context, key Key, rec Record) error

	// Touch moves the expiry of the live record under key to expires if that is later than what it has; it never
	// shortens. There is nothing to touch, and the answer is ErrNotFound, if no live record is there or it is a Marker.
	Touch(ctx context.Context, key Key, expires time.Time) error

	// Delete removes the record under key. Deleting what is not there is no error.
	Delete(ctx context.Context, key Key) error

	// Close releases what the store holds.
	Close() error
}
