package memory

import (
	"sync"

	"sessionserver/storage"
)

// ledger counts what each tenant keeps. An item is entered and struck out while its shard is locked, so the sums are
// those of the records.
type ledger struct {
	mu      sync.Mutex
	tenants map[string]storage.Usage // only tenants that keep something; nil once the store has been closed
}

func (l *ledger) add(it *item)      { l.change(it, 1) }
func (l *ledger) subtract(it *item) { l.change(it, -1) }

func (l *ledger) change(it *item, sign int64) {
	if it.marker {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenants == nil {
		return
	}
	u := l.tenants[it.key.Tenant]
	u.Records += sign
	u.Bytes += sign * int64(len(it.data))
	if u.Records == 0 {
		delete(l.tenants, it.key.Tenant)
		return
	}
	l.tenants[it.key.Tenant] = u
}

func (l *ledger) usage(tenant string) (storage.Usage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenants == nil {
		return storage.Usage{}, storage.ErrClosed
	}
	return l.tenants[tenant], nil
}

// check answers whether the store is open, for a caller that has no shard to ask.
func (l *ledger) check() error {
	_, err := l.usage("")
	return err
}

func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tenants = nil
}
