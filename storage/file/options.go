package file

import (
	"errors"
	"fmt"
	"time"
)

// SyncMode determines when an acknowledged write survives a power failure. In every mode it survives kill -9.
type SyncMode string

const (
	SyncAlways SyncMode = "always" // from its acknowledgement on
	SyncNever  SyncMode = "never"  // when the kernel writes it
)

// ParseSyncMode parses a mode as it is written in a configuration. The empty string is SyncAlways.
func ParseSyncMode(s string) (SyncMode, error) {
	switch m := SyncMode(s); m {
	case "":
		return SyncAlways, nil
	case SyncAlways, SyncNever:
		return m, nil
	}
	return "", fmt.Errorf("unknown sync mode %q (allowed: %s, %s)", s, SyncAlways, SyncNever)
}

// Options configure Open. Only Path is required.
type Options struct {
	// Path is the folder, which is created if it does not exist. Only one store at a time can use it.
	Path string

	// Sync is SyncAlways when empty.
	Sync SyncMode

	// Operations is the maximum number of concurrent operations, each with up to three open files or folders. Further
	// operations wait. The default is 256.
	Operations int

	// Now is the clock for expiries. The default is time.Now.
	Now func() time.Time

	// Failed is called once if an error stops all writes until the store is opened again. It is called during a write:
	// it must return quickly and must not call the store. It may be nil.
	Failed func(err error)

	// Damaged is called when a damaged file was set aside because its key was written or deleted. The pattern file,
	// relative to Path, matches the file's new name. Damaged must return quickly. It may be nil.
	Damaged func(tenant, file string, cause error)

	// Synced is called with the duration of each sync of a file or a folder. It must return quickly. It may be nil.
	Synced func(duration time.Duration)
}

// withDefaults returns a copy of o with every field set, or an error that names the invalid field.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		return o, errors.New("option Path: missing: set it to the folder of the records")
	}
	mode, err := ParseSyncMode(string(o.Sync))
	if err != nil {
		return o, fmt.Errorf("option Sync: %w", err)
	}
	o.Sync = mode
	if o.Operations < 0 {
		return o, fmt.Errorf("option Operations: %d is negative: set a maximum, or 0 for the default", o.Operations)
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
