package session

import (
	"context"

	"sessionserver/storage"
)

// DropTenant removes all sessions of a tenant, and with them every trace of its ids, burnt ones included: nothing of the
// tenant is left in the store. It answers how many sessions there were. It can take long, and other tenants are served meanwhile.
//
// Whoever has a session of the tenant open for writing or reading loses the lock, and is told so by ErrLockLost; who
// waits for a lock is answered ErrNotFound, and so is whoever opens a session before DropTenant has returned. No save that
// began before can bring a session back: those under way are over before anything is removed, and no later one passes the
// fence. After that the tenant, if it still exists, begins anew.
//
// On an error some sessions may be left; another call removes them. It is errors.ErrUnsupported if the store cannot do
// it, by which time the locks are lost.
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
