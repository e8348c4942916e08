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

// Quota names one of the quotas that a tenant has.
type Quota string

const (
	QuotaSessions Quota = "sessions" // Settings.MaxSessions
	QuotaBytes    Quota = "bytes"    // Settings.MaxTotalBytes
	QuotaWaiters  Quota = "waiters"  // Settings.MaxWaiters
)

// QuotaError refuses what would pass a quota. It is an ErrQuota to errors.Is.
type QuotaError struct {
	Quota Quota
	Limit int64
}

func (e *QuotaError) Is(target error) bool { return target == ErrQuota }

func (e *QuotaError) Error() string {
	switch e.Quota {
	case QuotaSessions:
		return fmt.Sprintf("%v: the tenant has the %d sessions that it may have; nothing was saved: destroy others or let them "+
			"expire and try again, or abort", ErrQuota, e.Limit)
	case QuotaBytes:
		return fmt.Sprintf("%v: the tenant's sessions would have more than the %d bytes that they may have; nothing was saved: "+
			"remove values here or destroy other sessions and try again, or abort", ErrQuota, e.Limit)
	}
	return fmt.Sprintf("%v: %d connections of the tenant wait for locks already; try again later", ErrQuota, e.Limit)
}

// account is what a manager keeps of one tenant.
//
// What a tenant has is the store's to count, but what it would be after the writes under way only this process can know. Each write
// that may make it more is booked before it begins and settled when it is over. A booking is granted while most, a bound that
// needs no look into the store, leaves room. Once it does not, the store is asked: where it alone leaves no room the answer
// is no. Where it does, but would not with all that is booked, some of that may be counted already, or may fail; then those
// who want to book wait until nothing is under way, and all is known.
type account struct {
	waiters atomic.Int64 // who wait for locks; written under the mutex of a lock table's shard

	mu      sync.Mutex    // guards what follows
	writes  int           // booked and not settled
	booked  storage.Usage // what they add at most
	most    storage.Usage // no less than what the tenant has now, and with all that is booked
	known   bool          // whether most is
	drained chan struct{} // not nil while somebody waits until nothing is booked; closed then
}

// book answers nil if the tenant may have that much more, or the quota that has no room for it. Without an error
// settle must follow. A write that adds nothing need not be booked.
func (a *account) book(ctx context.Context, s *Settings, more storage.Usage, meter func() (storage.Usage, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		if a.drained == nil {
			granted, err := a.decide(s, more, meter)
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

// decide books, or answers the quota that is in the way. It does neither if that cannot be known yet.
func (a *account) decide(s *Settings, more storage.Usage, meter func() (storage.Usage, error)) (bool, error) {
	if s.metered() && (!a.known || s.refusal(a.most, more) != nil) {
		has, err := meter()
		if err != nil {
			return false, storeError("usage", err)
		}
		a.learn(has)
		if err := s.refusal(has, more); err != nil {
			return false, err
		}
		if s.refusal(a.most, more) != nil {
			return false, nil
		}
	}
	a.writes++
	a.booked, a.most = sum(a.booked, more), sum(a.most, more)
	return true, nil
}

// learn lowers the bound to what the store says that the tenant has, and all that is booked.
func (a *account) learn(has storage.Usage) {
	most := sum(has, a.booked)
	if a.known {
		most.Records, most.Bytes = min(most.Records, a.most.Records), min(most.Bytes, a.most.Bytes)
	}
	a.most, a.known = most, true
}

// settle ends a booking, whatever came of the write: only the store knows, and it will be asked when it matters.
func (a *account) settle(more storage.Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes--
	a.booked.Records -= more.Records
	a.booked.Bytes -= more.Bytes
	if a.writes == 0 && a.drained != nil {
		close(a.drained)
		a.drained = nil
	}
}

func sum(a, b storage.Usage) storage.Usage {
	return storage.Usage{Records: a.Records + b.Records, Bytes: a.Bytes + b.Bytes}
}

func (s *Settings) metered() bool { return s.MaxSessions > 0 || s.MaxTotalBytes > 0 }

// refusal answers the quota that keeps a tenant that has so much from having more, or nil. What does not grow is no
// quota's business.
func (s *Settings) refusal(has, more storage.Usage) error {
	if most := int64(s.MaxSessions); most > 0 && more.Records > 0 && has.Records+more.Records > most {
		return &QuotaError{QuotaSessions, most}
	}
	if most := s.MaxTotalBytes; most > 0 && more.Bytes > 0 && has.Bytes+more.Bytes > most {
		return &QuotaError{QuotaBytes, most}
	}
	return nil
}

// wait counts one more who waits, unless there are as many as there may be. The mutex of the lock's shard must be held.
func (a *account) wait(most int) error {
	for {
		n := a.waiters.Load()
		if most > 0 && n >= int64(most) {
			return &QuotaError{QuotaWaiters, int64(most)}
		}
		if a.waiters.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// accounts are those of all tenants that there were since the start: names come from the directory of tenants, so they are few. They
// are spread over shards so that tenants do not meet.
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

// booking is what must be settled after a write. The zero value needs not.
type booking struct {
	account *account
	more    storage.Usage
}

func (b booking) settle() {
	if b.account != nil {
		b.account.settle(b.more)
	}
}

// book books what a write to a session of t may add, under t's quotas or, if it is to succeed anyway, under none.
func (m *Manager) book(ctx context.Context, t *Tenant, quotas *Settings, id storage.ID, more storage.Usage) (booking, error) {
	if more == (storage.Usage{}) {
		return booking{}, nil
	}
	a := m.accounts.of(t.Name)
	err := a.book(ctx, quotas, more, func() (storage.Usage, error) { return storage.UsageOf(ctx, m.store, t.Name) })
	if err != nil {
		m.refused(t.Name, id, err)
		return booking{}, err
	}
	return booking{a, more}, nil
}

// refused tells of a quota that has refused something, if err is that.
func (m *Manager) refused(tenant string, id storage.ID, err error) {
	var quota *QuotaError
	if !errors.As(err, &quota) {
		return
	}
	m.observe(Event{Kind: QuotaRefused, Tenant: tenant, ID: id, Quota: quota.Quota})
	if quota.Quota != QuotaWaiters {
		m.sweepSoon()
	}
}

// noQuotas are settings under which every booking is granted.
var noQuotas Settings

// Usage is what a tenant has.
type Usage struct {
	Sessions int64 // saved and not destroyed; expired ones count until they are swept
	Bytes    int64 // that they take in the store
	Waiters  int64 // connections that wait for a lock
}

// Usage tells what a tenant has, in constant time. The store answers for sessions and bytes; of one that does not count
// them the error is errors.ErrUnsupported, and Waiters is right all the same. Quotas on them cannot be kept there: with such
// settings every save that adds something is refused with ErrStore.
func (m *Manager) Usage(ctx context.Context, tenant string) (Usage, error) {
	u := Usage{Waiters: m.accounts.of(tenant).waiters.Load()}
	stored, err := storage.UsageOf(ctx, m.store, tenant)
	if err != nil {
		return u, storeError("usage", err)
	}
	u.Sessions, u.Bytes = stored.Records, stored.Bytes
	return u, nil
}
