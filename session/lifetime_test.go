package session

import (
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage/storagetest"
)

// wantLifetime fails the test unless the session under id expires after exactly d. It advances the time to the
// expiry.
func (f *fixture) wantLifetime(id string, d time.Duration) {
	f.Helper()
	st, err := f.peek(id).Stat()
	f.ok(err)
	f.equal("remaining lifetime", time.Until(st.Expires).Round(time.Second), d)
	sleep(time.Until(st.Expires) - time.Millisecond)
	f.peek(id)
	sleep(time.Millisecond)
	f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
}

func TestSessionExpiresAfterTheIdleLifetime(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		f.wantLifetime(id, 24*time.Minute)
		s := f.open(id, ReadWrite) // the id can be used again
		f.wantValues(s)
		f.ok(s.Abort())
	})
}

func TestIdleLifetimeSlidesWithUse(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				id := f.saved("k", "v")
				for range 100 {
					sleep(20 * time.Minute)
					f.ok(f.open(id, mode).Close(ctx))
				}
				f.wantLifetime(id, 24*time.Minute)
			})
		})
	}
}

func TestTouchingIsLazy(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.Lifetime = 10 * time.Minute })
				id := f.saved("k", "v")
				for range 59 {
					sleep(time.Second)
					f.ok(f.open(id, mode).Close(ctx))
				}
				f.equal("touches within a tenth of the lifetime", f.operations(storagetest.OpTouch), 0)
				sleep(time.Second)
				f.ok(f.open(id, mode).Close(ctx))
				f.ok(f.open(id, mode).Close(ctx))
				f.equal("touches after it", f.operations(storagetest.OpTouch), 1)
				f.equal("saves", f.operations(storagetest.OpPut), 1)
				f.wantLifetime(id, 10*time.Minute)
			})
		})
	}
}

func TestSavingNeedsNoTouch(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(20 * time.Minute)
		s := f.open(id, ReadWrite)
		f.equal("touches by opening", f.operations(storagetest.OpTouch), 1)
		sleep(10 * time.Minute)
		f.put(s, "k", "w")
		f.ok(s.Commit(ctx))
		f.ok(s.Close(ctx))
		f.equal("touches", f.operations(storagetest.OpTouch), 1)
		f.wantLifetime(id, 24*time.Minute)
	})
}

// TestAbortedSessionIsTouched: opening a session is use, even if it is aborted.
func TestAbortedSessionIsTouched(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				id := f.saved("k", "v")
				for range 20 {
					sleep(5 * time.Minute)
					s := f.open(id, mode)
					if mode.Exclusive() {
						f.put(s, "k", "w")
						f.ok(s.SetLifetime(time.Hour)) // is not saved
					}
					f.ok(s.Abort())
				}
				f.wantSaved(id, "k", "v")
				f.wantLifetime(id, 24*time.Minute)
			})
		})
	}
}

func TestExpiredBetweenReadingAndTouching(t *testing.T) {
	for mode, want := range map[Mode]error{
		ReadWrite: nil, Update: ErrNotFound, Read: ErrNotFound, Snapshot: ErrNotFound,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				id := f.saved("k", "v")
				sleep(24*time.Minute - time.Second)
				f.afterGet(func() { time.Sleep(time.Second) })
				s, err := f.try(id, mode, 0)
				f.wantErr(err, want)
				if err == nil { // a new session, as after the expiry
					f.wantValues(s)
					f.ok(s.Abort())
				}
				f.equal("locks granted", f.count(LockGranted), map[bool]int{true: 2, false: 1}[err == nil])
			})
		})
	}
}

// TestSnapshotDoesNotProlongAShortenedLifetime: another client saves the session with a shorter lifetime after a
// snapshot was read. Touching the snapshot must not overrule that.
func TestSnapshotDoesNotProlongAShortenedLifetime(t *testing.T) {
	shorten := func(f *fixture, s *Session) {
		f.ok(s.SetLifetime(time.Minute))
		f.ok(s.Close(ctx))
	}
	t.Run("before it is touched", func(t *testing.T) {
		testManager(t, func(f *fixture) {
			id := f.saved("k", "v")
			sleep(20 * time.Minute)
			f.afterGet(func() { shorten(f, f.open(id, ReadWrite)) })
			f.ok(f.open(id, Snapshot).Close(ctx))
			f.wantLifetime(id, time.Minute)
		})
	})
	for _, during := range []storagetest.Op{storagetest.OpGet, storagetest.OpTouch} {
		t.Run("during "+string(during), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.LockLease = time.Hour })
				id := f.saved("k", "v")
				s := f.open(id, ReadWrite)
				sleep(20 * time.Minute)
				saved, gets := make(chan struct{}), 0
				f.hook(func(op storagetest.Op) error {
					if op == storagetest.OpGet {
						gets++
					}
					if op == during && gets == 2 { // the second Get is the one before the touch
						gets++
						go func() {
							defer close(saved)
							shorten(f, s)
						}()
						synctest.Wait()
						select {
						case <-saved:
							f.Error("the save did not wait for the touch")
						default:
						}
						f.wantRefused(id, ErrLockTimeout, ReadWrite) // the holder still has the lock
					}
					return nil
				})
				f.ok(f.open(id, Snapshot).Close(ctx))
				<-saved
				f.hook(nil)
				f.wantLifetime(id, time.Minute)
			})
		})
	}
}

// TestTouchingASnapshotRefusesNoOpen: the lock is free for other clients while a snapshot is touched. A snapshot is
// not touched during another touch or save, which marks the session as used as well.
func TestTouchingASnapshotRefusesNoOpen(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(20 * time.Minute)
		var p *pending
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpTouch && p == nil {
				p = f.openAsync(id, ReadWrite, 0)
				f.wantRefused(id, ErrLockTimeout, ReadWrite)
				touches := f.operations(storagetest.OpTouch)
				f.ok(f.open(id, Snapshot).Close(ctx))
				f.equal("touches", f.operations(storagetest.OpTouch), touches)
			}
			return nil
		})
		f.ok(f.open(id, Snapshot).Close(ctx))
		s := p.session()
		touches := f.operations(storagetest.OpTouch)
		sleep(20 * time.Minute)
		f.put(s, "k", "w")
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				f.ok(f.open(id, Snapshot).Close(ctx))
			}
			return nil
		})
		f.ok(s.Close(ctx))
		f.hook(nil)
		f.equal("touches", f.operations(storagetest.OpTouch), touches)
		f.wantLifetime(id, 24*time.Minute)
	})
}

func TestAbsoluteLifetimeDoesNotSlide(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Read, Snapshot} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
				id := f.saved("k", "v")
				for i := range 5 {
					sleep(10 * time.Minute)
					s := f.open(id, mode)
					if mode == ReadWrite {
						f.put(s, "k", string(rune('a'+i)))
					}
					f.ok(s.Close(ctx))
				}
				f.wantLifetime(id, 10*time.Minute)
			})
		})
	}
}

func TestAbsoluteLifetimeEndsAnOpenSession(t *testing.T) {
	for name, end := range map[string]func(*fixture, *Session) error{
		"close":  func(f *fixture, s *Session) error { return s.Close(ctx) },
		"commit": func(f *fixture, s *Session) error { return s.Commit(ctx) },
		"close with changes": func(f *fixture, s *Session) error {
			f.put(s, "k", "w")
			return s.Close(ctx)
		},
		"regenerate": func(f *fixture, s *Session) error {
			_, err := s.Regenerate(ctx, time.Minute)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
				id := f.saved("k", "v")
				for range 3 {
					sleep(15 * time.Minute)
					f.ok(f.open(id, Read).Close(ctx))
				}
				s := f.open(id, ReadWrite)
				sleep(15 * time.Minute)
				f.wantErr(end(f, s), ErrNotFound)
				f.equal("ended", s.Ended(), true)
				f.wantErr(s.Close(ctx), ErrClosed)
				f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
			})
		})
	}
}

func TestShortenedAbsoluteLifetime(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(20 * time.Minute)
		f.ok(f.open(id, Read).Close(ctx))
		sleep(10 * time.Minute)
		f.settings(func(s *Settings) { s.Lifetime, s.AbsoluteLifetime = 10*time.Minute, 25*time.Minute })
		f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
		s := f.open(id, ReadWrite) // a new session, as after the expiry
		f.wantValues(s)
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "w")
		st, err := f.peek(id).Stat()
		f.ok(err)
		f.equal("version", st.Version, uint64(1))
	})
}

func TestSetLifetime(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s, err := f.m.New(ctx, f.tenant, time.Hour)
		f.ok(err)
		f.put(s, "k", "v")
		f.ok(s.Close(ctx))
		sleep(50 * time.Minute)
		s = f.open(id, ReadWrite)
		d, err := s.Lifetime()
		f.ok(err)
		f.equal("lifetime", d, time.Hour)
		f.ok(s.SetLifetime(2*time.Hour + 500*time.Millisecond)) // truncated to whole seconds
		d, err = s.Lifetime()
		f.ok(err)
		f.equal("lifetime", d, 2*time.Hour)
		st, err := s.Stat()
		f.ok(err)
		f.equal("last used", time.Since(st.LastUsed).Round(time.Second), time.Duration(0)) // by opening
		f.ok(s.Close(ctx))
		s = f.open(id, ReadWrite)
		d, err = s.Lifetime()
		f.ok(err)
		f.equal("lifetime", d, 2*time.Hour)
		f.ok(s.SetLifetime(time.Minute)) // saving may shorten the remaining lifetime
		st, err = s.Stat()
		f.ok(err)
		f.equal("last used", st.LastUsed.After(time.Now()), false)
		f.ok(s.Close(ctx))
		f.wantLifetime(id, time.Minute)
	})
}

func TestLifetimesOutOfRange(t *testing.T) {
	testManager(t, func(f *fixture) {
		_, s := f.new()
		for _, d := range []time.Duration{0, -time.Second, time.Second - 1, LifetimeMax + 1} {
			f.wantErr(s.SetLifetime(d), ErrBadDuration)
			if d != 0 { // 0 selects the tenant's lifetime
				_, _, err := f.m.New(ctx, f.tenant, d)
				f.wantErr(err, ErrBadDuration)
			}
		}
		f.ok(s.SetLifetime(time.Second))
		f.ok(s.SetLifetime(LifetimeMax))
		f.ok(s.Abort())
		f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
		_, s = f.new()
		f.wantErr(s.SetLifetime(time.Hour+1), ErrBadDuration)
		f.ok(s.Abort())
	})
}

func TestLifetimeOfASessionWithoutValues(t *testing.T) {
	for name, c := range map[string]struct {
		save func(*fixture) string
		want time.Duration
	}{
		"new": {func(f *fixture) string { return f.saved() }, 2 * time.Minute},
		"emptied": {func(f *fixture) string {
			id := f.saved("k", "v")
			s := f.open(id, ReadWrite)
			f.ok(s.Replace(fill()))
			f.ok(s.Close(ctx))
			return id
		}, 2 * time.Minute},
		"long lifetime": {func(f *fixture) string {
			id, s := f.new()
			f.ok(s.SetLifetime(time.Hour))
			f.ok(s.Close(ctx))
			return id
		}, 2 * time.Minute},
		"shorter lifetime": {func(f *fixture) string {
			id, s := f.new()
			f.ok(s.SetLifetime(time.Minute))
			f.ok(s.Close(ctx))
			return id
		}, time.Minute},
		"expired values": {func(f *fixture) string {
			id, s := f.new("k", "v")
			f.ok(s.Expire([]byte("k"), time.Second))
			sleep(time.Second)
			f.ok(s.Close(ctx))
			return id
		}, 2 * time.Minute},
		"filled": {func(f *fixture) string {
			id := f.saved()
			sleep(time.Minute)
			s := f.open(id, ReadWrite)
			f.put(s, "k", "v")
			f.ok(s.Close(ctx))
			return id
		}, 24 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) { testManager(t, func(f *fixture) { f.wantLifetime(c.save(f), c.want) }) })
	}
}

func TestStat(t *testing.T) {
	testManager(t, func(f *fixture) {
		stat := func(s *Session, want Stat) {
			t.Helper()
			st, err := s.Stat()
			f.ok(err)
			for name, pair := range map[string][2]time.Time{
				"created": {st.Created, want.Created}, "last used": {st.LastUsed, want.LastUsed},
				"expires": {st.Expires, want.Expires},
			} {
				if !pair[0].Equal(pair[1]) {
					t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
				}
			}
			got := [3]int{int(st.Version), st.Keys, st.Bytes}
			f.equal("version, keys and bytes", got, [3]int{int(want.Version), want.Keys, want.Bytes})
		}
		start, life := time.Now(), f.tenant.Settings.Lifetime
		id, s := f.new("key", "value")
		stat(s, Stat{Created: start, LastUsed: start, Expires: start.Add(life), Keys: 1, Bytes: 8})
		f.ok(s.Commit(ctx))
		stat(s, Stat{Created: start, LastUsed: start, Expires: start.Add(life), Version: 1, Keys: 1, Bytes: 8})
		f.ok(s.Close(ctx))

		sleep(10 * time.Minute)
		touched := time.Now()
		f.ok(f.open(id, Read).Close(ctx))
		sleep(time.Minute)
		s = f.open(id, ReadWrite)
		f.put(s, "key", "v")
		stat(s, Stat{Created: start, LastUsed: touched, Expires: touched.Add(life), Version: 1, Keys: 1, Bytes: 4})
		saved := time.Now()
		f.ok(s.Commit(ctx))
		stat(s, Stat{Created: start, LastUsed: saved, Expires: saved.Add(life), Version: 2, Keys: 1, Bytes: 4})
		f.ok(s.Close(ctx))
		f.wantErr(func() error { _, err := s.Stat(); return err }(), ErrClosed)
	})
}
