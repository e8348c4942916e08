package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

// unusedID is a valid id that no session has.
const unusedID = "an-id-that-is-not-in-use"

var ctx = context.Background()

// fixture is a manager in virtual time over a store that can be made to fail, with the assertions that all tests
// share.
type fixture struct {
	*testing.T
	store  *storagetest.Faulty
	m      *Manager
	tenant *Tenant

	mu     sync.Mutex // guards the fields below
	events []Event
	ops    map[storagetest.Op]int // calls of the store so far
}

// testManager runs a test in virtual time. At its end the lock table must be empty.
func testManager(t *testing.T, test func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{T: t, store: storagetest.NewFaulty(memory.New(memory.Options{})), ops: map[storagetest.Op]int{}}
		f.settings(func(*Settings) {})
		f.hook(nil)
		f.m = NewManager(f.store, Options{Observe: func(e Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		}})
		test(f)
		synctest.Wait()
		f.wantNoLocks(f.m.locks)
	})
}

// settings gives the tenant the default settings with a change.
func (f *fixture) settings(change func(*Settings)) {
	f.Helper()
	s := DefaultSettings()
	s.Strict = false // most tests choose their ids
	change(&s)
	if errs := s.Validate(); errs != nil {
		f.Fatal(errs)
	}
	f.tenant = &Tenant{Name: "acme", Settings: s}
}

// hook counts the operations of the store, and calls before, unless it is nil, ahead of each.
func (f *fixture) hook(before func(op storagetest.Op) error) {
	f.store.Before(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
		f.mu.Lock()
		f.ops[op]++
		f.mu.Unlock()
		if before != nil {
			return before(op)
		}
		return nil
	})
}

// afterGet calls do once, after the next Get of the store.
func (f *fixture) afterGet(do func()) {
	f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
		if op == storagetest.OpGet && do != nil {
			now := do
			do = nil
			now()
		}
		return nil
	})
}

// wantNoLocks fails the test if a lock is left in the table.
func (f *fixture) wantNoLocks(t *lockTable) {
	f.Helper()
	for i := range t.shards {
		for key, l := range t.shards[i].locks {
			f.Errorf("lock of %x is left with %d holders and %d waiters", key.ID[:4], len(l.holders), len(l.queue))
		}
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantErr(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("error = %v, want %v", err, want)
	}
}

func (f *fixture) equal(name string, got, want any) {
	f.Helper()
	if got != want {
		f.Fatalf("%s = %v, want %v", name, got, want)
	}
}

// new opens a new session, puts keys and values, and leaves it open.
func (f *fixture) new(pairs ...string) (string, *Session) {
	f.Helper()
	id, s, err := f.m.New(ctx, f.tenant, 0)
	f.ok(err)
	f.put(s, pairs...)
	return id, s
}

// saved saves a new session with these keys and values, and returns its id.
func (f *fixture) saved(pairs ...string) string {
	f.Helper()
	id, s := f.new(pairs...)
	f.ok(s.Close(ctx))
	return id
}

func (f *fixture) try(id string, mode Mode, wait time.Duration) (*Session, error) {
	return f.m.Open(ctx, f.tenant, []byte(id), OpenOptions{Mode: mode, Wait: wait})
}

func (f *fixture) open(id string, mode Mode) *Session {
	f.Helper()
	s, err := f.try(id, mode, 0)
	f.ok(err)
	return s
}

// wantRefused fails the test unless opening without a wait returns want in each of the modes, or in all modes if
// none is given.
func (f *fixture) wantRefused(id string, want error, modes ...Mode) {
	f.Helper()
	if len(modes) == 0 {
		modes = []Mode{ReadWrite, Update, Read, Snapshot}
	}
	for _, mode := range modes {
		if s, err := f.try(id, mode, 0); !errors.Is(err, want) {
			if s != nil {
				s.Abort()
			}
			f.Errorf("open %v: error = %v, want %v", mode, err, want)
		}
	}
}

func (f *fixture) put(s *Session, pairs ...string) {
	f.Helper()
	for i := 0; i < len(pairs); i += 2 {
		f.ok(s.Put([]byte(pairs[i]), []byte(pairs[i+1])))
	}
}

// wantValues fails the test unless s holds exactly these keys and values, in this order.
func (f *fixture) wantValues(s *Session, pairs ...string) {
	f.Helper()
	n, err := s.Len()
	f.ok(err)
	var got []string
	for i := range n {
		key, value := s.Pair(i)
		got = append(got, string(key), string(value))
	}
	f.equal("keys and values", fmt.Sprintf("%q", got), fmt.Sprintf("%q", pairs))
	for i := 0; i < len(pairs); i += 2 {
		value, err := s.Get([]byte(pairs[i]))
		f.ok(err)
		f.equal(pairs[i], string(value), pairs[i+1])
	}
}

// wantSaved fails the test unless exactly these keys and values are saved under id. It does not touch the session.
func (f *fixture) wantSaved(id string, pairs ...string) {
	f.Helper()
	f.wantValues(f.peek(id), pairs...)
}

// peek opens a snapshot without touching the session.
func (f *fixture) peek(id string) *Session {
	f.Helper()
	key := storage.Key{Tenant: f.tenant.Name, ID: Hash([]byte(id))}
	for {
		s, next, err := f.m.load(ctx, f.tenant, key, nil, Snapshot)
		f.ok(err)
		if s != nil {
			return s
		}
		key = next
	}
}

// pending is an open in a goroutine of its own.
type pending struct {
	f    *fixture
	done chan struct{}
	s    *Session
	err  error
}

// openAsync starts to open a session, and returns when the open waits or has returned.
func (f *fixture) openAsync(id string, mode Mode, wait time.Duration) *pending {
	return f.openAsyncWith(ctx, id, OpenOptions{Mode: mode, Wait: wait})
}

func (f *fixture) openAsyncWith(ctx context.Context, id string, opts OpenOptions) *pending {
	p := &pending{f: f, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.s, p.err = f.m.Open(ctx, f.tenant, []byte(id), opts)
	}()
	synctest.Wait()
	return p
}

func (p *pending) waits() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// wantWaiting fails the test if the open has returned.
func (p *pending) wantWaiting() {
	p.f.Helper()
	if !p.waits() {
		p.f.Fatalf("open does not wait any more: error = %v", p.err)
	}
}

// session returns the session of an open that must have returned by now.
func (p *pending) session() *Session {
	p.f.Helper()
	if p.waits() {
		p.f.Fatal("open still waits")
	}
	p.f.ok(p.err)
	return p.s
}

// wantErr fails the test unless the open has returned this error by now.
func (p *pending) wantErr(want error) {
	p.f.Helper()
	if p.waits() {
		p.f.Fatal("open still waits")
	}
	p.f.wantErr(p.err, want)
}

// count returns the number of events of a kind.
func (f *fixture) count(kind EventKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, e := range f.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// operations returns the number of calls of the store's operation op.
func (f *fixture) operations(op storagetest.Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[op]
}

// sleep advances virtual time.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
