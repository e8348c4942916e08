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

// unknown is a well-formed id that nobody has used.
const unknown = "an-id-that-nobody-has-used"

var ctx = context.Background()

// fixture is a manager over a store that can be made to fail, in virtual time, and the assertions that all tests share.
type fixture struct {
	*testing.T
	store  *storagetest.Faulty
	m      *Manager
	tenant *Tenant

	mu     sync.Mutex // guards what follows
	events []Event
	ops    map[storagetest.Op]int // operations of the store so far
}

// play runs a test in virtual time. When it ends nothing may be left in the lock table.
func play(t *testing.T, test func(*fixture)) {
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
		f.empty(f.m.locks)
	})
}

// settings makes a tenant that has the default settings but for what change changes.
func (f *fixture) settings(change func(*Settings)) {
	f.Helper()
	s := DefaultSettings()
	change(&s)
	if errs := s.Validate(); errs != nil {
		f.Fatal(errs)
	}
	f.tenant = &Tenant{Name: "acme", Settings: s}
}

// hook counts the operations of the store and calls before, if there is one, ahead of each.
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

// afterGet calls do once, when the store has answered the next Get.
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

// empty fails if a lock is left in the table.
func (f *fixture) empty(t *lockTable) {
	f.Helper()
	for i := range t.shards {
		for key, l := range t.shards[i].locks {
			f.Errorf("the lock of %x is left with %d holders and %d waiting", key.ID[:4], len(l.holders), len(l.queue))
		}
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("the error is %v, should be %v", err, want)
	}
}

func (f *fixture) equal(what string, got, want any) {
	f.Helper()
	if got != want {
		f.Fatalf("%s is %v, should be %v", what, got, want)
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

// saved makes a session with keys and values.
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

// refused fails unless opening without waiting answers want, in each of the modes, or all if none is named.
func (f *fixture) refused(id string, want error, modes ...Mode) {
	f.Helper()
	if len(modes) == 0 {
		modes = []Mode{ReadWrite, Update, Read, Snapshot}
	}
	for _, mode := range modes {
		if s, err := f.try(id, mode, 0); !errors.Is(err, want) {
			if s != nil {
				s.Abort()
			}
			f.Errorf("open %v: the error is %v, should be %v", mode, err, want)
		}
	}
}

func (f *fixture) put(s *Session, pairs ...string) {
	f.Helper()
	for i := 0; i < len(pairs); i += 2 {
		f.ok(s.Put([]byte(pairs[i]), []byte(pairs[i+1])))
	}
}

// has fails unless s shows exactly these keys and values, in this order.
func (f *fixture) has(s *Session, pairs ...string) {
	f.Helper()
	n, err := s.Len()
	f.ok(err)
	var got []string
	for i := range n {
		key, value := s.Pair(i)
		got = append(got, string(key), string(value))
	}
	f.equal("what the session holds", fmt.Sprintf("%q", got), fmt.Sprintf("%q", pairs))
	for i := 0; i < len(pairs); i += 2 {
		value, err := s.Get([]byte(pairs[i]))
		f.ok(err)
		f.equal(pairs[i], string(value), pairs[i+1])
	}
}

// holds fails unless exactly these keys and values are saved under id. Looking does not touch the session.
func (f *fixture) holds(id string, pairs ...string) {
	f.Helper()
	f.has(f.peek(id), pairs...)
}

// peek opens a snapshot past the hooks and without touching.
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

// pending is an open that goes on in a goroutine of its own.
type pending struct {
	f    *fixture
	done chan struct{}
	s    *Session
	err  error
}

// later begins to open a session and returns when that waits, or has been answered.
func (f *fixture) later(id string, mode Mode, wait time.Duration) *pending {
	return f.laterWith(ctx, id, OpenOptions{Mode: mode, Wait: wait})
}

func (f *fixture) laterWith(ctx context.Context, id string, opts OpenOptions) *pending {
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

// stillWaits fails if the open has been answered.
func (p *pending) stillWaits() {
	p.f.Helper()
	if !p.waits() {
		p.f.Fatalf("open does not wait any more; the error is %v", p.err)
	}
}

// session is what the open has been answered with by now.
func (p *pending) session() *Session {
	p.f.Helper()
	if p.waits() {
		p.f.Fatal("open still waits")
	}
	p.f.ok(p.err)
	return p.s
}

// refused fails unless the open has been answered with this error by now.
func (p *pending) refused(want error) {
	p.f.Helper()
	if p.waits() {
		p.f.Fatal("open still waits")
	}
	p.f.is(p.err, want)
}

// count is how many events of a kind there were.
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

// did is how often the store was asked for op.
func (f *fixture) did(op storagetest.Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[op]
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
