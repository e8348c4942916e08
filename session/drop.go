package session

import (
	"context"

	"sessionserver/storage"
)

// DropTenant removes all sessions of a tenant and every trace of its ids, tombstones included: nothing of the
// tenant is left in the store. It returns the number of sessions that were removed. It can take long, and other
// tenants are served meanwhile.
//
// A client with a session of the tenant open for writing or reading loses the lock and gets ErrLockLost. A client
// that waits for a lock, or opens a session before DropTenant has returned, gets ErrNotFound. No earlier save can
// bring a session back: saves in progress end before anything is removed, and no later one passes the fence. After
// that the tenant, if it still exists, starts empty.
//
// On an error some sessions may be left; another call removes them. The error is errors.ErrUnsupported if the store
// is not a Dropper; the locks are lost even then.
func (m *Manager) DropTenant(ctx context.Context, tenant string) (dropped int64, err error) {
	err = m.locks.beginDrop(ctx, tenant)
	defer m.locks.endDrop(tenant)
	if err != nil {
		return 0, err
	}
	dropped, err = storage.DropTenant(ctx, m.store, tenant)
	if err != nil {
		return dropped, storeError("drop tenant", err)
	}
	m.observe(Event{Kind: TenantDropped, Tenant: tenant, Count: dropped})
	return dropped, nil
}
