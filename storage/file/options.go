package file

import (
	"errors"
	"fmt"
	"time"
)

// SyncMode says when an acknowledged write survives the machine's losing power. It survives kill -9 in every mode.
type SyncMode string

const (
	SyncAlways SyncMode = "always" // from its acknowledgement on
	SyncNever  SyncMode = "never"  // when the kernel finds the time
)

// ParseSyncMode reads a mode as it is written in a configuration. The empty string is SyncAlways.
func ParseSyncMode(s string) (SyncMode, error) {
	switch m := SyncMode(s); m {
	case "":
		return SyncAlways, nil
	case SyncAlways, SyncNever:
		return m, nil
	}
	return "", fmt.Errorf("sync mode %q (allowed: %s, %s)", s, SyncAlways, SyncNever)
}

// Options say how to open a store. Only Path is required.
type Options struct {
	// Path is the folder, made when missing. One store at a time may hold it.
	Path string

	// Sync is SyncAlways when empty.
	Sync SyncMode

	// Operations is how many operations there are at once, each with up to three files or folders open; further ones wait. Default 256.
	Operations int

	// Now is the clock that decides what has expired. Default time.Now.
	Now func() time.Time

	// Failed is told, once, that the store takes no writes until it is opened again, because of err. It is called from the
	// midst of writing: it must return at once and must not call the store. It may be nil.
	Failed func(err error)

	// Damaged is told that a file that was damaged has made room for a new record, and lies where the pattern file, below Path, leads. It must return
	// at once. It may be nil.
	Damaged func(tenant, file string, why error)

	// Synced is told how long each sync of a file or a folder took. It must return at once. It may be nil.
	Synced func(took time.Duration)
}

// withDefaults answers a copy of o with every field set, or says which field is wrong.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		return o, errors.New("no Path")
	}
	mode, err := ParseSyncMode(string(o.Sync))
	if err != nil {
		return o, fmt.Errorf("option Sync: %w", err)
	}
	o.Sync = mode
	if o.Operations < 0 {
		return o, errors.New("a negative number of Operations")
	}
	if o.Operations == 0 {
		o.Operations = 256
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Damaged == nil {
		o.Damaged = func(string, string, error) {}
	}
	if o.Synced == nil {
		o.Synced = func(time.Duration) {}
	}
	return o, nil
}
