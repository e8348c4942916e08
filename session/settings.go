package session

import (
	"fmt"
	"time"
)

// Tenant is a namespace of sessions with its settings. It is shared and must not be changed; new settings are a new
// Tenant.
type Tenant struct {
	Name     string // at most 64 bytes, see storage.Key
	Settings Settings
}

// Settings are a tenant's rules for its sessions.
type Settings struct {
	Lifetime         time.Duration // idle lifetime of a session without one of its own
	AbsoluteLifetime time.Duration // longest life of a session; 0 is without end
	EmptyLifetime    time.Duration // idle lifetime of a session saved without any value
	Strict           bool          // ids are created by the server only: open rw refuses an unknown id

	LockLease time.Duration // time for which a lock is safe from its waiters
	LockWait  time.Duration // wait of an open whose caller sets none
	GraceMax  time.Duration // longest grace period of Regenerate

	MaxKeys  int // keys of one session
	MaxValue int // bytes of one value
	MaxBytes int // bytes of all keys and values of one session

	// Quotas of the whole tenant; 0 is unlimited. See the package documentation.
	MaxSessions   int   // saved sessions
	MaxTotalBytes int64 // their size in the store: keys, values, and a head of about 20 bytes and 5 for each key
	MaxWaiters    int   // connections that wait for locks at once
}

// DefaultSettings returns PHP's lifetime of 24 minutes and the limits of the specification. Only the server creates
// ids.
func DefaultSettings() Settings {
	return Settings{
		Lifetime:      24 * time.Minute,
		EmptyLifetime: 2 * time.Minute,
		Strict:        true,
		LockLease:     time.Minute,
		LockWait:      10 * time.Second,
		GraceMax:      5 * time.Minute,
		MaxKeys:       1024,
		MaxValue:      1 << 20,
		MaxBytes:      4 << 20,
	}
}

// keysMax is the maximum number of keys of any session. A record with a larger number is invalid.
const keysMax = 4096

// KeyMax is the maximum length of a key in bytes.
const KeyMax = 256

// LifetimeMax is the longest lifetime of any kind: ten years.
const LifetimeMax = 10 * 365 * 24 * time.Hour

// tombstoneLifetime is how long a tombstone is kept if clients create ids and the tenant has no absolute lifetime.
const tombstoneLifetime = 24 * time.Hour

// quotaMax is the largest quota, in sessions, bytes or connections.
const quotaMax = 1 << 50

// SettingError reports an invalid field of Settings.
type SettingError struct {
	Field   string
	Problem string // the value, and the allowed range
}

func (e SettingError) Error() string { return "session: " + e.Field + ": " + e.Problem }

// Validate returns all invalid settings.
func (s Settings) Validate() []SettingError {
	var errs []SettingError
	within := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			errs = append(errs, SettingError{field, fmt.Sprintf("%v (allowed: %v to %v)", d, low, high)})
		}
	}
	number := func(field string, n, low, high int64) {
		if n < low || n > high {
			errs = append(errs, SettingError{field, fmt.Sprintf("%d (allowed: %d to %d)", n, low, high)})
		}
	}
	within("Lifetime", s.Lifetime, time.Second, LifetimeMax)
	if s.AbsoluteLifetime != 0 {
		within("AbsoluteLifetime", s.AbsoluteLifetime, s.Lifetime, LifetimeMax)
	}
	within("EmptyLifetime", s.EmptyLifetime, time.Second, LifetimeMax)
	within("LockLease", s.LockLease, 10*time.Millisecond, 24*time.Hour)
	within("LockWait", s.LockWait, 0, WaitMax)
	within("GraceMax", s.GraceMax, 0, time.Hour)
	number("MaxKeys", int64(s.MaxKeys), 1, keysMax)
	number("MaxValue", int64(s.MaxValue), 1, 16<<20)
	number("MaxBytes", int64(s.MaxBytes), 1, 64<<20)
	number("MaxSessions", int64(s.MaxSessions), 0, quotaMax)
	number("MaxTotalBytes", s.MaxTotalBytes, 0, quotaMax)
	number("MaxWaiters", int64(s.MaxWaiters), 0, quotaMax)
	return errs
}

// WaitMax is the longest wait for a lock.
const WaitMax = 10 * time.Minute

// tombstoneLifetime returns how long the id of a destroyed or moved session is refused. In a strict tenant no client
// creates an id: the tombstone only outlives the grace period and every client that has waited for the lock.
func (s Settings) tombstoneLifetime() time.Duration {
	if s.Strict {
		return s.GraceMax + s.LockLease + WaitMax
	}
	if s.AbsoluteLifetime > 0 {
		return s.AbsoluteLifetime
	}
	return tombstoneLifetime
}
