package session

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"sessionserver/storage"
)

// Quota names one of a tenant's quotas.
type Quota string

const (
	QuotaSessions Quota = "sessions" // Settings.MaxSessions
	QuotaBytes    Quota = "bytes"    // Settings.MaxTotalBytes
	QuotaWaiters  Quota = "waiters"  // Settings.MaxWaiters
)

// QuotaError reports which quota a request would exceed. errors.Is matches it with ErrQuota.
type QuotaError struct {
	Quota Quota
	Limit int64
}

func (e *QuotaError) Is(target error) bool { return target == ErrQuota }

func (e *QuotaError) Error() string {
	switch e.Quota {
	case QuotaSessions:
		return fmt.Sprintf("%v: the tenant has %d sessions, the maximum; nothing was saved: "+
			"destroy other sessions or let them expire and try again, or abort", ErrQuota, e.Limit)
	case QuotaBytes:
		return fmt.Sprintf("%v: the tenant's sessions would exceed %d bytes, the maximum; nothing was saved: "+
			"remove values or destroy other sessions and try again, or abort", ErrQuota, e.Limit)
	}
	return fmt.Sprintf("%v: %d connections of the tenant already wait for locks, the maximum; try again later",
		ErrQuota, e.Limit)
}

// account is what a manager keeps of one tenant.
//
// The store counts what a tenant has, but not what the writes in progress will add. So each write that may add
// something is reserved before it begins, and the reservation is released after it.
//
// A reservation is granted while bound, which needs no request to the store, leaves room. After that the store is
// asked for the usage. If the usage alone leaves no room, the reservation is refused. If only the usage and all
// reservations together leave none, some of the reserved writes may be counted already, or may fail. Then the
// caller waits until no write is in progress and the usage is exact.
type account struct {
	waiters atomic.Int64 // holds that wait for locks; written under the mutex of a lock table's shard

	mu       sync.Mutex    // guards the fields below
	writes   int           // reserved and not released
	reserved storage.Usage // what these writes add at most
	bound    storage.Usage // upper bound of the tenant's usage, all reservations included
	known    bool          // whether bound is set
	drained  chan struct{} // not nil while a caller waits for the end of all writes; closed then
}

// reserve returns nil if the tenant may have that much more, or the quota that would be exceeded. After nil,
// release must follow. A write that adds nothing needs no reservation.
func (a *account) reserve(
	ctx context.Context, s *Settings, more storage.Usage, meter func() (storage.Usage, error),
) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		if a.drained == nil {
			granted, err := a.tryReserve(s, more, meter)
			if granted || err != nil {
				return err
			}
			a.drained = make(chan struct{})
		}
		drained := a.drained
		a.mu.Unlock()
		select {
		case <-drained:
			a.mu.Lock()
		case <-ctx.Done():
			a.mu.Lock()
			return storeError("save", context.Cause(ctx))
		}
	}
}

// tryReserve makes a reservation, or returns the quota that would be exceeded. It returns false and nil if that
// cannot be known yet.
func (a *account) tryReserve(s *Settings, more storage.Usage, meter func() (storage.Usage, error)) (bool, error) {
	if s.metered() && (!a.known || s.refusal(a.bound, more) != nil) {
		usage, err := meter()
		if err != nil {
			return false, storeError("usage", err)
		}
		a.tightenBound(usage)
		if err := s.refusal(usage, more); err != nil {
			return false, err
		}
		if s.refusal(a.bound, more) != nil {
			return false, nil
		}
	}
	a.writes++
	a.reserved, a.bound = sum(a.reserved, more), sum(a.bound, more)
	return true, nil
}

// tightenBound lowers the bound to the usage that the store reports plus all reservations.
func (a *account) tightenBound(usage storage.Usage) {
	bound := sum(usage, a.reserved)
	if a.known {
		bound.Records, bound.Bytes = min(bound.Records, a.bound.Records), min(bound.Bytes, a.bound.Bytes)
	}
	a.bound, a.known = bound, true
}

// release ends a reservation, whatever the outcome of the write. The store counts the usage, and is read when it
// matters.
func (a *account) release(more storage.Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes--
	a.reserved.Records -= more.Records
	a.reserved.Bytes -= more.Bytes
	if a.writes == 0 && a.drained != nil {
		close(a.drained)
		a.drained = nil
	}
}

func sum(a, b storage.Usage) storage.Usage {
	return storage.Usage{Records: a.Records + b.Records, Bytes: a.Bytes + b.Bytes}
}

func (s *Settings) metered() bool { return s.MaxSessions > 0 || s.MaxTotalBytes > 0 }

// refusal returns the quota that keeps a tenant with this usage from having more, or nil. A quota applies only to
// what grows.
func (s *Settings) refusal(usage, more storage.Usage) error {
	if limit := int64(s.MaxSessions); limit > 0 && more.Records > 0 && usage.Records+more.Records > limit {
		return &QuotaError{QuotaSessions, limit}
	}
	if limit := s.MaxTotalBytes; limit > 0 && more.Bytes > 0 && usage.Bytes+more.Bytes > limit {
		return &QuotaError{QuotaBytes, limit}
	}
	return nil
}

// addWaiter adds one waiter, unless the limit is reached. The mutex of the lock's shard must be held.
func (a *account) addWaiter(limit int) error {
	for {
		n := a.waiters.Load()
		if limit > 0 && n >= int64(limit) {
			return &QuotaError{QuotaWaiters, int64(limit)}
		}
		if a.waiters.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// accounts holds one account for each tenant used since the start. Tenants' names come from the directory, so they
// are few. Sharding keeps tenants from contending for one mutex.
type accounts struct {
	seed   maphash.Seed
	shards [64]struct {
		mu     sync.RWMutex // guards byName
		byName map[string]*account
	}
}

func (as *accounts) of(tenant string) *account {
	sh := &as.shards[maphash.String(as.seed, tenant)%uint64(len(as.shards))]
	sh.mu.RLock()
	a := sh.byName[tenant]
	sh.mu.RUnlock()
	if a != nil {
		return a
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a = sh.byName[tenant]; a == nil {
		if sh.byName == nil {
			sh.byName = make(map[string]*account)
		}
		a = new(account)
		sh.byName[tenant] = a
	}
	return a
}

// reservation is to be released after a write. The zero value needs no release.
type reservation struct {
	account *account
	more    storage.Usage
}

func (b reservation) release() {
	if b.account != nil {
		b.account.release(b.more)
	}
}

// reserve reserves what a write to a session of t may add, under the given quotas. A write that no quota may refuse
// passes noQuotas.
func (m *Manager) reserve(
	ctx context.Context, t *Tenant, quotas *Settings, id storage.ID, more storage.Usage,
) (reservation, error) {
	if more == (storage.Usage{}) {
		return reservation{}, nil
	}
	a := m.accounts.of(t.Name)
	err := a.reserve(ctx, quotas, more, func() (storage.Usage, error) { return storage.UsageOf(ctx, m.store, t.Name) })
	if err != nil {
		m.observeRefusal(t.Name, id, err)
		return reservation{}, err
	}
	return reservation{a, more}, nil
}

// observeRefusal reports the refusal to the observer if err is a QuotaError.
func (m *Manager) observeRefusal(tenant string, id storage.ID, err error) {
	var quota *QuotaError
	if !errors.As(err, &quota) {
		return
	}
	m.observe(Event{Kind: QuotaRefused, Tenant: tenant, ID: id, Quota: quota.Quota})
	if quota.Quota != QuotaWaiters {
		m.requestSweep()
	}
}

// noQuotas are settings under which every reservation is granted.
var noQuotas Settings

// Usage is what a tenant has.
type Usage struct {
	Sessions int64 // saved and not destroyed; an expired session counts until it is swept
	Bytes    int64 // size of these sessions in the store
	Waiters  int64 // connections that wait for a lock
}

// Usage returns what a tenant has, in constant time. Sessions and bytes come from the store. If the store has no
// Meter, the error is errors.ErrUnsupported and only Waiters is valid. Such a store supports no quotas on sessions
// and bytes: with them, every save that adds something is refused with ErrStore.
func (m *Manager) Usage(ctx context.Context, tenant string) (Usage, error) {
	u := Usage{Waiters: m.accounts.of(tenant).waiters.Load()}
	stored, err := storage.UsageOf(ctx, m.store, tenant)
	if err != nil {
		return u, storeError("usage", err)
	}
	u.Sessions, u.Bytes = stored.Records, stored.Bytes
	return u, nil
}
