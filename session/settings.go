package session

import (
	"fmt"
	"time"
)

// Tenant is a namespace of sessions with its rules. It is shared by all who use it and never changed; new rules are a
// new Tenant.
type Tenant struct {
	Name     string // at most 64 bytes, see storage.Key
	Settings Settings
}

// Settings are a tenant's rules for its sessions.
type Settings struct {
	Lifetime         time.Duration // how long a session lives unused, unless it has a lifetime of its own
	AbsoluteLifetime time.Duration // how long it lives at all; 0 is without end
	FreshLifetime    time.Duration // how long one lives that was saved without any value
	Strict           bool          // whether open rw refuses an id that does not exist instead of creating it

	LockLease time.Duration // how long a lock is safe from those who wait for it
	LockWait  time.Duration // how long open waits when its caller does not say
	GraceMax  time.Duration // the longest grace period that Regenerate takes

	MaxKeys  int // keys of one session
	MaxValue int // bytes of one value
	MaxBytes int // bytes of all keys and values of one session

	// Quotas of the whole tenant; 0 is none. See the package documentation.
	MaxSessions   int   // saved sessions
	MaxTotalBytes int64 // bytes that they take in the store: keys, values and what is known of each, about 20 bytes and 5 a key
	MaxWaiters    int   // connections that wait for locks at once
}

// DefaultSettings are PHP's lifetime of 24 minutes and the limits of the specification.
func DefaultSettings() Settings {
	return Settings{
		Lifetime:      24 * time.Minute,
		FreshLifetime: 2 * time.Minute,
		LockLease:     time.Minute,
		LockWait:      10 * time.Second,
		GraceMax:      5 * time.Minute,
		MaxKeys:       1024,
		MaxValue:      1 << 20,
		MaxBytes:      4 << 20,
	}
}

// keysMax is the most keys that any session has. A record that claims more is not one.
const keysMax = 4096

// KeyMax is the most bytes that a key has.
const KeyMax = 256

// LifetimeMax is the longest lifetime of any kind: ten years.
const LifetimeMax = 10 * 365 * 24 * time.Hour

// burnTime is how long an id is refused after its session has gone when there is no absolute lifetime to outlive.
const burnTime = 24 * time.Hour

// quotaMax is the largest quota, in sessions, bytes or connections.
const quotaMax = 1 << 50

// SettingError says what is wrong with one field of Settings.
type SettingError struct {
	Field   string
	Problem string // the value, and what is allowed
}

func (e SettingError) Error() string { return "session: " + e.Field + ": " + e.Problem }

// Validate returns everything that is wrong with the settings.
func (s Settings) Validate() []SettingError {
	var errs []SettingError
	within := func(field string, d, least, most time.Duration) {
		if d < least || d > most {
			errs = append(errs, SettingError{field, fmt.Sprintf("%v (allowed: %v to %v)", d, least, most)})
		}
	}
	number := func(field string, n, least, most int64) {
		if n < least || n > most {
			errs = append(errs, SettingError{field, fmt.Sprintf("%d (allowed: %d to %d)", n, least, most)})
		}
	}
	within("Lifetime", s.Lifetime, time.Second, LifetimeMax)
	if s.AbsoluteLifetime != 0 {
		within("AbsoluteLifetime", s.AbsoluteLifetime, s.Lifetime, LifetimeMax)
	}
	within("FreshLifetime", s.FreshLifetime, time.Second, LifetimeMax)
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

// WaitMax is the longest that an open waits for a lock.
const WaitMax = 10 * time.Minute

func (s Settings) burn() time.Duration {
	if s.AbsoluteLifetime > 0 {
		return s.AbsoluteLifetime
	}
	return burnTime
}
