package memory

import (
	"sync"

	"sessionserver/storage"
)

// ledger counts what each tenant keeps. A change is applied while its shards are locked, so the sums always match
// the records.
type ledger struct {
	mu      sync.Mutex
	tenants map[string]storage.Usage // only tenants that keep something; nil after Close
}

// apply adds the changes of one write at once.
func (l *ledger) apply(changes ...change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenants == nil {
		return
	}
	for _, c := range changes {
		u := l.tenants[c.tenant]
		u.Records += c.Records
		u.Bytes += c.Bytes
		if u == (storage.Usage{}) {
			delete(l.tenants, c.tenant)
			continue
		}
		l.tenants[c.tenant] = u
	}
}

// change is a difference in a tenant's usage.
type change struct {
	tenant string
	storage.Usage
}

// add counts an item that was added (1) or removed (-1).
func (c *change) add(it *item, sign int64) {
	if !it.marker {
		c.Records += sign
		c.Bytes += sign * int64(len(it.data))
	}
}

func (l *ledger) usage(tenant string) (storage.Usage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenants == nil {
		return storage.Usage{}, storage.ErrClosed
	}
	return l.tenants[tenant], nil
}

// check returns storage.ErrClosed after Close, for a caller without a shard.
func (l *ledger) check() error {
	_, err := l.usage("")
	return err
}

func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tenants = nil
}
