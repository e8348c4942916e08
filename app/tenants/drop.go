package tenants

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
)

// dropAll drops the sessions of deleted tenants until ctx ends. The mark in the folder is removed last, so that
// unfinished work is finished after the next start.
func (f *Follower) dropAll(ctx context.Context) {
	if f.opts.Drop == nil {
		return
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.drops:
		case <-again.C:
		}
		for _, name := range f.deleted() {
			if err := f.drop(ctx, name); err != nil && ctx.Err() == nil {
				f.log.Error("the sessions of a deleted tenant were not dropped; it is tried again",
					"tenant", name, "err", err)
				again.Reset(f.retry)
			}
		}
	}
}

// deleted returns the marked tenants that are gone.
func (f *Follower) deleted() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied == nil {
		return nil
	}
	for _, name := range f.applied.Drops {
		if auth.ValidName(name) && f.applied.Tenant(name) == nil && !f.hasFile(name) {
			names = append(names, name)
		}
	}
	return names
}

// hasFile reports whether the folder has a file of the tenant, valid or not.
func (f *Follower) hasFile(name string) bool {
	_, err := os.Lstat(filepath.Join(f.folder, name+configs.TenantExt))
	return !errors.Is(err, fs.ErrNotExist)
}

func (f *Follower) drop(ctx context.Context, name string) error {
	mark := filepath.Join(f.folder, name+configs.DropExt)
	if _, err := os.Lstat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil // dropped already
	}
	f.log.Info("dropping the sessions of a deleted tenant", "tenant", name)
	dropped, err := f.opts.Drop(ctx, name)
	if err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.log.Info("dropped the sessions of a deleted tenant", "tenant", name, "sessions", dropped)
	return nil
}
