package session

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage/memory"
)

// model is the specification once more, as simply as it can be said: nothing in it is fast, safe or shared with the
// package but the errors. Ids are strings, locks are lists, and the store is a map.
type model struct {
	set    Settings
	stored map[string]kept
	locks  map[string]*mLock
}

// kept is what the store has under an id: a session, or a marker.
type kept struct {
	mState
	marker  bool
	target  string
	follow  time.Time
	expires time.Time
}

type mState struct {
	created  time.Time
	lifetime time.Duration
	version  int
	values   []mValue // never changed in place
}

type mValue struct {
	key, value string
	expires    time.Time
}

type mLock struct{ holders, queue []*mActor }

// mActor is a connection: it has a session open, waits for one, or neither.
type mActor struct {
	id      string // of the session that is open, or is waited for
	asked   string
	mode    Mode
	wait    time.Duration
	open    bool
	hold    string // "", "waits", "held" or "lost"
	until   time.Time
	giveUp  time.Time
	state   mState
	origin  mState // what was stored when it was opened
	stored  bool
	dirty   bool
	expires time.Time
	idle    time.Duration

	answer error // of an open that waited
	done   bool
}

func (m *model) lock(id string) *mLock {
	if m.locks[id] == nil {
		m.locks[id] = &mLock{}
	}
	return m.locks[id]
}

func without1(list []*mActor, a *mActor) []*mActor {
	var rest []*mActor
	for _, b := range list {
		if b != a {
			rest = append(rest, b)
		}
	}
	return rest
}

// admits: alone, or among readers; and holders whose lease is over make room.
func (m *model) admits(id string, a *mActor) bool {
	l, now := m.lock(id), time.Now()
	shared, over := !a.mode.exclusive(), len(l.holders) > 0
	for _, h := range l.holders {
		shared = shared && !h.mode.exclusive()
		over = over && !now.Before(h.until)
	}
	if len(l.holders) == 0 || shared {
		return true
	}
	if over {
		for _, h := range l.holders {
			h.hold = "lost"
		}
		l.holders = nil
	}
	return over
}

func (m *model) grant(id string, a *mActor) {
	l := m.lock(id)
	l.holders = append(l.holders, a)
	a.hold, a.id, a.until = "held", id, time.Now().Add(m.set.LockLease)
}

// advance lets in whoever is next, and answers them.
func (m *model) advance(id string) {
	l := m.lock(id)
	for len(l.queue) > 0 && m.admits(id, l.queue[0]) {
		a := l.queue[0]
		l.queue = l.queue[1:]
		m.grant(id, a)
		m.arrive(a)
	}
}

func (m *model) release(a *mActor) {
	if a.hold == "held" {
		l := m.lock(a.id)
		l.holders = without1(l.holders, a)
		a.hold = ""
		m.advance(a.id)
	}
	a.hold = ""
}

// arrive loads the session for an actor that has just got a lock, which may turn out to be that of an alias.
func (m *model) arrive(a *mActor) {
	next, err := m.load(a)
	switch {
	case err != nil:
		m.release(a)
		a.answer, a.done = err, true
	case next != "":
		m.release(a)
		m.reach(a, next)
	default:
		a.answer, a.done, a.open = nil, true, true
	}
}

func (m *model) get(id string) (kept, bool) {
	k, ok := m.stored[id]
	return k, ok && time.Now().Before(k.expires)
}

func (m *model) absolute(created time.Time) (time.Time, bool) {
	return created.Add(m.set.AbsoluteLifetime), m.set.AbsoluteLifetime > 0
}

func (m *model) idleOf(s mState) time.Duration {
	d := m.set.Lifetime
	if s.lifetime > 0 {
		d = s.lifetime
	}
	if len(s.values) == 0 {
		d = min(d, m.set.FreshLifetime)
	}
	return d
}

func (m *model) end(s mState, idle time.Duration) time.Time {
	end := time.Now().Add(idle)
	if abs, ok := m.absolute(s.created); ok && abs.Before(end) {
		end = abs
	}
	return end.Truncate(time.Millisecond)
}

func live(values []mValue) []mValue {
	var rest []mValue
	for _, v := range values {
		if v.expires.IsZero() || time.Now().Before(v.expires) {
			rest = append(rest, v)
		}
	}
	return rest
}

func (m *model) load(a *mActor) (next string, err error) {
	k, ok := m.get(a.id)
	if !ok {
		if a.mode == ReadWrite && !m.set.Strict && a.id == a.asked {
			a.state, a.stored, a.dirty = mState{created: time.Now().Truncate(time.Millisecond)}, false, false
			return "", nil
		}
		return "", ErrNotFound
	}
	if k.marker {
		if !time.Now().Before(k.follow) {
			return "", ErrNotFound
		}
		return k.target, nil
	}
	a.state, a.origin, a.stored, a.dirty, a.expires = k.mState, k.mState, true, false, k.expires
	a.idle = m.idleOf(k.mState)
	a.state.values = live(a.state.values)
	m.touch(a)
	return "", nil
}

func (m *model) touch(a *mActor) {
	idle := m.idleOf(a.state)
	end := m.end(a.state, idle)
	if end.Sub(a.expires) < idle/10 {
		return
	}
	if k, ok := m.get(a.id); ok && !k.marker && k.expires.Before(end) {
		k.expires = end
		m.stored[a.id] = k
	}
	a.expires, a.idle = end, idle
}

// reach tries to get to the session under id. It leaves the actor with an answer, or waiting.
func (m *model) reach(a *mActor, id string) {
	a.id = id
	if a.mode == Snapshot {
		next, err := m.load(a)
		if next != "" {
			m.reach(a, next)
			return
		}
		a.answer, a.done, a.open = err, true, err == nil
		return
	}
	if l := m.lock(id); len(l.queue) == 0 && m.admits(id, a) {
		m.grant(id, a)
		m.arrive(a)
		return
	}
	k, ok := m.get(id)
	switch {
	case a.wait > 0 && m.set.MaxWaiters > 0 && m.waiters() >= m.set.MaxWaiters:
		a.answer, a.done = ErrQuota, true
	case ok && k.marker: // nobody can hold the lock of a marker for more than an instant
		panic("a marker is locked")
	case !ok && a.mode != ReadWrite:
		a.answer, a.done = ErrNotFound, true
	case !time.Now().Before(a.giveUp):
		a.answer, a.done = ErrLockTimeout, true
	default:
		a.hold = "waits"
		m.lock(id).queue = append(m.lock(id).queue, a)
		m.advance(id)
	}
}

func (m *model) waiters() int {
	n := 0
	for _, l := range m.locks {
		n += len(l.queue)
	}
	return n
}

// sessions counts what is kept, also what has expired: nobody sweeps.
func (m *model) sessions() int {
	n := 0
	for _, k := range m.stored {
		if !k.marker {
			n++
		}
	}
	return n
}

// next is when something happens by itself, before limit.
func (m *model) next(limit time.Time) time.Time {
	for _, l := range m.locks {
		if len(l.queue) == 0 {
			continue
		}
		var last time.Time
		for _, h := range l.holders {
			if h.until.After(last) {
				last = h.until
			}
		}
		if last.Before(limit) {
			limit = last
		}
		for _, a := range l.queue {
			if a.giveUp.Before(limit) {
				limit = a.giveUp
			}
		}
	}
	return limit
}

// tick does what happens by itself now.
func (m *model) tick() {
	for id, l := range m.locks {
		for _, a := range l.queue {
			if !time.Now().Before(a.giveUp) {
				l.queue = without1(l.queue, a)
				a.hold, a.answer, a.done = "", ErrLockTimeout, true
			}
		}
		m.advance(id)
	}
}

// ready is the answer to a command for which the session must be open.
func (m *model) ready(a *mActor, write bool) error {
	switch {
	case !a.open:
		return ErrClosed
	case a.hold == "lost":
		a.open, a.hold = false, ""
		return ErrLockLost
	case write && (a.hold == "" || !a.mode.exclusive()):
		return ErrReadOnly
	}
	a.state.values = live(a.state.values)
	return nil
}

func (m *model) finish(a *mActor) {
	a.open = false
	m.release(a)
}

func (m *model) overdue(a *mActor) bool {
	abs, ok := m.absolute(a.state.created)
	return ok && !time.Now().Before(abs)
}

func (m *model) save(a *mActor) error {
	if m.overdue(a) {
		m.finish(a)
		return ErrNotFound
	}
	if !a.dirty && a.stored {
		if _, ok := m.get(a.id); ok {
			m.touch(a)
			return nil
		}
		if m.end(a.state, m.idleOf(a.state)).Sub(a.expires) < m.idleOf(a.state)/10 {
			return nil
		}
	}
	if isNew := !a.stored || !time.Now().Before(a.expires); isNew && m.set.MaxSessions > 0 && m.sessions() >= m.set.MaxSessions {
		return ErrQuota
	}
	a.state.version++
	a.expires = m.end(a.state, m.idleOf(a.state))
	m.stored[a.id] = kept{mState: a.state, expires: a.expires}
	a.stored, a.dirty = true, false
	return nil
}

func (m *model) burn(id string, k kept) {
	k.marker, k.expires = true, time.Now().Add(max(m.set.AbsoluteLifetime, 0)).Truncate(time.Millisecond)
	if m.set.AbsoluteLifetime == 0 {
		k.expires = time.Now().Add(24 * time.Hour).Truncate(time.Millisecond)
	}
	m.stored[id] = k
}

func (a *mActor) put(key, value string, expires time.Time) {
	values := append([]mValue(nil), a.state.values...)
	a.dirty = true
	for i := range values {
		if values[i].key == key {
			values[i] = mValue{key, value, expires}
			a.state.values = values
			return
		}
	}
	a.state.values = append(values, mValue{key, value, expires})
}

func (a *mActor) value(key string) (string, bool) {
	for _, v := range a.state.values {
		if v.key == key {
			return v.value, true
		}
	}
	return "", false
}

// run is one random run of the package against the model.
type run struct {
	*testing.T
	m      *Manager
	tenant *Tenant
	model  *model
	rnd    *rand.Rand
	names  []string // all ids that anybody has heard of
	real   []*Session
	actors []*mActor
	waits  []chan opened // of those who wait
	log    []string
}

type opened struct {
	s   *Session
	err error
}

func (r *run) logf(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%8v ", time.Since(time.Unix(946684800, 0)))+fmt.Sprintf(format, args...))
}

func (r *run) fail(format string, args ...any) {
	r.Helper()
	r.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(r.log[max(0, len(r.log)-60):], "\n"))
}

// same compares an answer with the model's.
func (r *run) same(got, want error) {
	r.Helper()
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		r.fail("the answer is %v, should be %v", got, want)
	}
}

// gather takes in the answers to those who waited.
func (r *run) gather() {
	r.Helper()
	synctest.Wait()
	want := Usage{Sessions: int64(r.model.sessions()), Waiters: int64(r.model.waiters())}
	got, err := r.m.Usage(ctx, r.tenant.Name)
	if got.Bytes = 0; err != nil || got != want {
		r.fail("usage is %+v, %v, should be %+v", got, err, want)
	}
	for i, a := range r.actors {
		if r.waits[i] == nil {
			continue
		}
		select {
		case o := <-r.waits[i]:
			r.waits[i], r.real[i] = nil, o.s
			r.logf("actor %d: its open was answered %v", i, o.err)
			if !a.done {
				r.fail("it should wait still")
			}
			r.same(o.err, a.answer)
		default:
			if a.done {
				r.fail("actor %d waits still, should have been answered %v", i, a.answer)
			}
		}
	}
}

// sleep lets time pass, stopping wherever something happens by itself.
func (r *run) sleep(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Until(r.model.next(end)))
		r.model.tick()
		r.gather()
	}
}

// step makes actor i do something at random.
func (r *run) step(i int) {
	a, s, rnd := r.actors[i], r.real[i], r.rnd
	if r.waits[i] != nil {
		return
	}
	key := string(rune('a' + rnd.IntN(4)))
	if s == nil || s.Ended() {
		if a.open {
			r.fail("actor %d should have a session open", i)
		}
		if rnd.IntN(12) == 0 {
			id, s, err := r.m.New(ctx, r.tenant, 0)
			r.same(err, nil)
			r.logf("actor %d: new %s", i, id)
			*a = mActor{mode: ReadWrite, open: true, state: mState{created: time.Now().Truncate(time.Millisecond)}}
			r.model.grant(id, a)
			r.names, r.real[i] = append(r.names, id), s
			return
		}
		id := r.names[rnd.IntN(len(r.names))]
		if rnd.IntN(4) > 0 {
			id = r.names[max(0, len(r.names)-1-rnd.IntN(2))] // the newest are where things happen
		}
		wait := time.Duration(0)
		if rnd.IntN(2) == 0 {
			wait = time.Duration(rnd.Int64N(int64(2 * time.Minute)))
		}
		mode := []Mode{ReadWrite, ReadWrite, ReadWrite, Update, Read, Read, Snapshot}[rnd.IntN(7)]
		r.logf("actor %d: open %s %v %v", i, id, mode, wait)
		*a = mActor{asked: id, mode: mode, wait: wait, giveUp: time.Now().Add(wait)}
		ch := make(chan opened, 1)
		r.waits[i], r.real[i] = ch, nil
		go func() {
			s, err := r.m.Open(context.Background(), r.tenant, []byte(id), OpenOptions{Mode: mode, Wait: wait})
			ch <- opened{s, err}
		}()
		r.model.reach(a, id)
		return
	}
	switch rnd.IntN(12) {
	case 0, 1:
		value := fmt.Sprint(rnd.IntN(1000))
		r.logf("actor %d: put %s %s", i, key, value)
		want := r.model.ready(a, true)
		if want == nil {
			a.put(key, value, time.Time{})
		}
		r.same(s.Put([]byte(key), []byte(value)), want)
	case 2, 3:
		r.logf("actor %d: get all", i)
		want := r.model.ready(a, false)
		n, err := s.Len()
		r.same(err, want)
		if err == nil {
			var got, should []string
			for j := range n {
				k, v := s.Pair(j)
				got = append(got, string(k)+"="+string(v))
			}
			for _, v := range a.state.values {
				should = append(should, v.key+"="+v.value)
			}
			if fmt.Sprint(got) != fmt.Sprint(should) {
				r.fail("it has %v, should have %v", got, should)
			}
		}
	case 4:
		r.logf("actor %d: remove %s", i, key)
		want := r.model.ready(a, true)
		removed, err := s.Remove([]byte(key))
		r.same(err, want)
		if _, there := a.value(key); want == nil && removed != there {
			r.fail("removed: %v, should be %v", removed, there)
		}
		if removed {
			var rest []mValue
			for _, v := range a.state.values {
				if v.key != key {
					rest = append(rest, v)
				}
			}
			a.state.values, a.dirty = rest, true
		}
	case 5:
		d := time.Duration(rnd.IntN(120)) * time.Second
		r.logf("actor %d: expire %s %v", i, key, d)
		want := r.model.ready(a, true)
		if want == nil {
			if value, there := a.value(key); !there {
				want = ErrNoKey
			} else if d == 0 {
				a.put(key, value, time.Time{})
			} else {
				a.put(key, value, time.Now().Add(d).Truncate(time.Millisecond))
			}
		}
		r.same(s.Expire([]byte(key), d), want)
	case 6:
		d := time.Duration(1+rnd.IntN(600)) * time.Second
		r.logf("actor %d: lifetime %v", i, d)
		want := r.model.ready(a, true)
		if want == nil {
			a.state.lifetime, a.dirty = d, true
		}
		r.same(s.SetLifetime(d), want)
	case 7:
		r.logf("actor %d: commit", i)
		want := r.model.ready(a, true)
		if want == nil {
			if want = r.model.save(a); want == nil {
				r.model.release(a)
			}
		}
		r.same(s.Commit(ctx), want)
	case 8:
		r.logf("actor %d: close", i)
		want := r.model.ready(a, false)
		if want == nil && a.hold != "" && a.mode.exclusive() {
			want = r.model.save(a)
		}
		if want == nil {
			r.model.finish(a)
		}
		r.same(s.Close(ctx), want)
	case 9:
		r.logf("actor %d: abort", i)
		want := r.model.ready(a, false)
		if want == nil {
			r.model.finish(a)
		}
		r.same(s.Abort(), want)
	case 10:
		if rnd.IntN(3) > 0 {
			return
		}
		r.logf("actor %d: destroy", i)
		want := r.model.ready(a, true)
		if want == nil {
			r.model.burn(a.id, kept{})
			r.model.finish(a)
		}
		r.same(s.Destroy(ctx), want)
	case 11:
		grace := time.Duration(rnd.IntN(3)*rnd.IntN(100)) * time.Second
		r.logf("actor %d: regenerate %v", i, grace)
		want := r.model.ready(a, true)
		if want == nil && r.model.overdue(a) {
			r.model.finish(a)
			want = ErrNotFound
		}
		id, err := s.Regenerate(ctx, grace)
		r.same(err, want)
		if err != nil {
			return
		}
		r.logf("actor %d: it is %s now", i, id)
		r.names = append(r.names, id)
		old := a.id
		if a.stored {
			a.expires = r.model.end(a.state, a.idle)
			r.model.stored[id] = kept{mState: a.origin, expires: a.expires}
		}
		from, to := r.model.lock(old), r.model.lock(id)
		from.holders, to.holders, a.id = nil, []*mActor{a}, id
		if grace > 0 {
			r.model.burn(old, kept{target: id, follow: time.Now().Add(grace).Truncate(time.Millisecond)})
			to.queue, from.queue = from.queue, nil
			for _, w := range to.queue {
				w.id = id
			}
		} else {
			r.model.burn(old, kept{})
		}
		r.model.advance(old)
		r.model.advance(id)
	}
}

var modelSeed = flag.Uint64("model.seed", 0, "the seed of the only run of TestAgainstModel")

// TestAgainstModel: several connections do random things; the package and the model must give the same answers, and
// in the same instant.
func TestAgainstModel(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 50
	}
	base := rand.Uint64()
	if *modelSeed != 0 {
		runs, base = 1, *modelSeed
	}
	for n := range runs {
		seed := base + uint64(n)
		synctest.Test(t, func(t *testing.T) {
			const actors = 5
			rnd := rand.New(rand.NewPCG(seed, 0))
			set := DefaultSettings()
			set.Lifetime, set.FreshLifetime = 5*time.Minute, time.Minute
			set.Strict = rnd.IntN(3) == 0
			if rnd.IntN(2) == 0 {
				set.AbsoluteLifetime = 15 * time.Minute
			}
			if rnd.IntN(2) == 0 {
				set.MaxSessions, set.MaxWaiters = 1+rnd.IntN(4), 1+rnd.IntN(3)
			}
			r := &run{
				T: t, rnd: rnd,
				m:      NewManager(memory.New(memory.Options{}), Options{}),
				tenant: &Tenant{Name: "acme", Settings: set},
				model:  &model{set: set, stored: map[string]kept{}, locks: map[string]*mLock{}},
				names:  []string{"the-first-session", "the-second-session"},
				real:   make([]*Session, actors), waits: make([]chan opened, actors),
			}
			for range actors {
				r.actors = append(r.actors, &mActor{})
			}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			for range 300 {
				r.step(rnd.IntN(actors))
				r.gather()
				switch rnd.IntN(20) {
				case 0:
					r.sleep(time.Duration(rnd.Int64N(int64(5 * time.Minute))))
				case 1, 2, 3, 4, 5, 6, 7, 8:
					r.sleep(time.Duration(rnd.Int64N(int64(10 * time.Second))))
				}
			}
			for i, s := range r.real { // those that wait come in when the others leave
				for r.waits[i] != nil {
					r.sleep(time.Minute)
					s = r.real[i]
				}
				if s != nil {
					r.same(s.Abort(), func() error {
						err := r.model.ready(r.actors[i], false)
						if err == nil {
							r.model.finish(r.actors[i])
						}
						return err
					}())
					r.gather()
				}
			}
			for i := range r.m.locks.shards {
				if n := len(r.m.locks.shards[i].locks); n > 0 {
					r.fail("%d locks are left", n)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
