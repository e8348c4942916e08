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

// model is a second, minimal implementation of the package's specification. It shares only the errors with the
// package. Ids are strings, locks are lists, and the store is a map.
type model struct {
	settings Settings
	stored   map[string]modelRecord
	locks    map[string]*modelLock
}

// modelRecord is the stored record of an id: a session or a marker.
type modelRecord struct {
	modelState
	marker  bool
	target  string
	follow  time.Time
	expires time.Time
}

type modelState struct {
	created  time.Time
	lifetime time.Duration
	version  int
	values   []modelValue // never changed in place
}

type modelValue struct {
	key, value string
	expires    time.Time
}

type modelLock struct{ holders, queue []*actor }

// actor is a connection: it has a session open, waits for one, or neither.
type actor struct {
	id        string // of the open session, or of the one it waits for
	requested string
	mode      Mode
	wait      time.Duration
	open      bool
	hold      string // "", "waits", "held" or "lost"
	until     time.Time
	deadline  time.Time
	state     modelState
	origin    modelState // the stored state when the session was opened
	stored    bool
	dirty     bool
	expires   time.Time
	idle      time.Duration

	result error // result of an open that waited
	done   bool
}

func (m *model) lock(id string) *modelLock {
	if m.locks[id] == nil {
		m.locks[id] = &modelLock{}
	}
	return m.locks[id]
}

func removeActor(list []*actor, a *actor) []*actor {
	var rest []*actor
	for _, b := range list {
		if b != a {
			rest = append(rest, b)
		}
	}
	return rest
}

// admits reports whether the actor may have the lock: alone, beside other readers, or in place of holders whose
// leases are over.
func (m *model) admits(id string, a *actor) bool {
	l, now := m.lock(id), time.Now()
	shared, over := !a.mode.Exclusive(), len(l.holders) > 0
	for _, h := range l.holders {
		shared = shared && !h.mode.Exclusive()
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

func (m *model) grant(id string, a *actor) {
	l := m.lock(id)
	l.holders = append(l.holders, a)
	a.hold, a.id, a.until = "held", id, time.Now().Add(m.settings.LockLease)
}

// advance grants the lock to the next waiters and completes their opens.
func (m *model) advance(id string) {
	l := m.lock(id)
	for len(l.queue) > 0 && m.admits(id, l.queue[0]) {
		a := l.queue[0]
		l.queue = l.queue[1:]
		m.grant(id, a)
		m.arrive(a)
	}
}

func (m *model) release(a *actor) {
	if a.hold == "held" {
		l := m.lock(a.id)
		l.holders = removeActor(l.holders, a)
		a.hold = ""
		m.advance(a.id)
	}
	a.hold = ""
}

// arrive loads the session for an actor that was granted a lock. The id may turn out to be an alias.
func (m *model) arrive(a *actor) {
	next, err := m.load(a)
	switch {
	case err != nil:
		m.release(a)
		a.result, a.done = err, true
	case next != "":
		m.release(a)
		m.reach(a, next)
	default:
		a.result, a.done, a.open = nil, true, true
	}
}

func (m *model) get(id string) (modelRecord, bool) {
	k, ok := m.stored[id]
	return k, ok && time.Now().Before(k.expires)
}

func (m *model) absolute(created time.Time) (time.Time, bool) {
	return created.Add(m.settings.AbsoluteLifetime), m.settings.AbsoluteLifetime > 0
}

func (m *model) idleOf(s modelState) time.Duration {
	d := m.settings.Lifetime
	if s.lifetime > 0 {
		d = s.lifetime
	}
	if len(s.values) == 0 {
		d = min(d, m.settings.EmptyLifetime)
	}
	return d
}

func (m *model) end(s modelState, idle time.Duration) time.Time {
	end := time.Now().Add(idle)
	if abs, ok := m.absolute(s.created); ok && abs.Before(end) {
		end = abs
	}
	return end.Truncate(time.Millisecond)
}

func live(values []modelValue) []modelValue {
	var rest []modelValue
	for _, v := range values {
		if v.expires.IsZero() || time.Now().Before(v.expires) {
			rest = append(rest, v)
		}
	}
	return rest
}

func (m *model) load(a *actor) (next string, err error) {
	k, ok := m.get(a.id)
	if !ok {
		if a.mode == ReadWrite && !m.settings.Strict && a.id == a.requested {
			a.state, a.stored, a.dirty = modelState{created: time.Now().Truncate(time.Millisecond)}, false, false
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
	a.state, a.origin, a.stored, a.dirty, a.expires = k.modelState, k.modelState, true, false, k.expires
	a.idle = m.idleOf(k.modelState)
	a.state.values = live(a.state.values)
	m.touch(a)
	return "", nil
}

func (m *model) touch(a *actor) {
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

// reach opens the session under id for an actor. Afterwards the actor has a result or waits.
func (m *model) reach(a *actor, id string) {
	a.id = id
	if a.mode == Snapshot {
		next, err := m.load(a)
		if next != "" {
			m.reach(a, next)
			return
		}
		a.result, a.done, a.open = err, true, err == nil
		return
	}
	if l := m.lock(id); len(l.queue) == 0 && m.admits(id, a) {
		m.grant(id, a)
		m.arrive(a)
		return
	}
	k, ok := m.get(id)
	switch {
	case a.wait > 0 && m.settings.MaxWaiters > 0 && m.waiters() >= m.settings.MaxWaiters:
		a.result, a.done = ErrQuota, true
	case ok && k.marker: // the lock of a marker is held for an instant only
		panic("a marker is locked")
	case !ok && a.mode != ReadWrite:
		a.result, a.done = ErrNotFound, true
	case !time.Now().Before(a.deadline):
		a.result, a.done = ErrLockTimeout, true
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

// sessions returns the number of stored sessions, including expired ones, as no sweep runs.
func (m *model) sessions() int {
	n := 0
	for _, k := range m.stored {
		if !k.marker {
			n++
		}
	}
	return n
}

// next returns the time of the next event that time alone causes, at most limit.
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
			if a.deadline.Before(limit) {
				limit = a.deadline
			}
		}
	}
	return limit
}

// tick does all that is due by now.
func (m *model) tick() {
	for id, l := range m.locks {
		for _, a := range l.queue {
			if !time.Now().Before(a.deadline) {
				l.queue = removeActor(l.queue, a)
				a.hold, a.result, a.done = "", ErrLockTimeout, true
			}
		}
		m.advance(id)
	}
}

// ready returns the result of a command that needs an open session.
func (m *model) ready(a *actor, write bool) error {
	switch {
	case !a.open:
		return ErrClosed
	case a.hold == "lost":
		a.open, a.hold = false, ""
		return ErrLockLost
	case write && (a.hold == "" || !a.mode.Exclusive()):
		return ErrReadOnly
	}
	a.state.values = live(a.state.values)
	return nil
}

func (m *model) finish(a *actor) {
	a.open = false
	m.release(a)
}

func (m *model) outlived(a *actor) bool {
	abs, ok := m.absolute(a.state.created)
	return ok && !time.Now().Before(abs)
}

func (m *model) save(a *actor) error {
	if m.outlived(a) {
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
	isNew := !a.stored || !time.Now().Before(a.expires)
	if limit := m.settings.MaxSessions; isNew && limit > 0 && m.sessions() >= limit {
		return ErrQuota
	}
	a.state.version++
	a.expires = m.end(a.state, m.idleOf(a.state))
	m.stored[a.id] = modelRecord{modelState: a.state, expires: a.expires}
	a.stored, a.dirty = true, false
	return nil
}

func (m *model) putMarker(id string, k modelRecord) {
	k.marker, k.expires = true, time.Now().Add(max(m.settings.AbsoluteLifetime, 0)).Truncate(time.Millisecond)
	if m.settings.AbsoluteLifetime == 0 {
		k.expires = time.Now().Add(24 * time.Hour).Truncate(time.Millisecond)
	}
	if s := m.settings; s.Strict {
		k.expires = time.Now().Add(s.GraceMax + s.LockLease + WaitMax).Truncate(time.Millisecond)
	}
	m.stored[id] = k
}

func (a *actor) put(key, value string, expires time.Time) {
	values := append([]modelValue(nil), a.state.values...)
	a.dirty = true
	for i := range values {
		if values[i].key == key {
			values[i] = modelValue{key, value, expires}
			a.state.values = values
			return
		}
	}
	a.state.values = append(values, modelValue{key, value, expires})
}

func (a *actor) value(key string) (string, bool) {
	for _, v := range a.state.values {
		if v.key == key {
			return v.value, true
		}
	}
	return "", false
}

// run is one random run of the package and the model side by side.
type run struct {
	*testing.T
	m      *Manager
	tenant *Tenant
	model  *model
	rnd    *rand.Rand
	names  []string // all ids that were created or opened
	real   []*Session
	actors []*actor
	waits  []chan opened // of the actors that wait
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

// same compares the package's error with the model's.
func (r *run) same(got, want error) {
	r.Helper()
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		r.fail("error = %v, want %v", got, want)
	}
}

// collect receives the results of opens that waited.
func (r *run) collect() {
	r.Helper()
	synctest.Wait()
	want := Usage{Sessions: int64(r.model.sessions()), Waiters: int64(r.model.waiters())}
	got, err := r.m.Usage(ctx, r.tenant.Name)
	if got.Bytes = 0; err != nil || got != want {
		r.fail("usage = %+v, %v, want %+v", got, err, want)
	}
	for i, a := range r.actors {
		if r.waits[i] == nil {
			continue
		}
		select {
		case o := <-r.waits[i]:
			r.waits[i], r.real[i] = nil, o.s
			r.logf("actor %d: open returned %v", i, o.err)
			if !a.done {
				r.fail("actor %d: open returned, want it to wait", i)
			}
			r.same(o.err, a.result)
		default:
			if a.done {
				r.fail("actor %d: open waits, want error %v", i, a.result)
			}
		}
	}
}

// sleep advances time, with a stop at every event that time alone causes.
func (r *run) sleep(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Until(r.model.next(end)))
		r.model.tick()
		r.collect()
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
			r.fail("actor %d has no open session, want one", i)
		}
		if rnd.IntN(12) == 0 {
			id, s, err := r.m.New(ctx, r.tenant, 0)
			r.same(err, nil)
			r.logf("actor %d: new %s", i, id)
			*a = actor{mode: ReadWrite, open: true, state: modelState{created: time.Now().Truncate(time.Millisecond)}}
			r.model.grant(id, a)
			r.names, r.real[i] = append(r.names, id), s
			return
		}
		id := r.names[rnd.IntN(len(r.names))]
		if rnd.IntN(4) > 0 {
			id = r.names[max(0, len(r.names)-1-rnd.IntN(2))] // mostly the newest ids, so that actors meet
		}
		wait := time.Duration(0)
		if rnd.IntN(2) == 0 {
			wait = time.Duration(rnd.Int64N(int64(2 * time.Minute)))
		}
		mode := []Mode{ReadWrite, ReadWrite, ReadWrite, Update, Read, Read, Snapshot}[rnd.IntN(7)]
		r.logf("actor %d: open %s %v %v", i, id, mode, wait)
		*a = actor{requested: id, mode: mode, wait: wait, deadline: time.Now().Add(wait)}
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
			var got, expected []string
			for j := range n {
				k, v := s.Pair(j)
				got = append(got, string(k)+"="+string(v))
			}
			for _, v := range a.state.values {
				expected = append(expected, v.key+"="+v.value)
			}
			if fmt.Sprint(got) != fmt.Sprint(expected) {
				r.fail("values = %v, want %v", got, expected)
			}
		}
	case 4:
		r.logf("actor %d: remove %s", i, key)
		want := r.model.ready(a, true)
		removed, err := s.Remove([]byte(key))
		r.same(err, want)
		if _, there := a.value(key); want == nil && removed != there {
			r.fail("removed = %v, want %v", removed, there)
		}
		if removed {
			var rest []modelValue
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
		if want == nil && a.hold != "" && a.mode.Exclusive() {
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
			r.model.putMarker(a.id, modelRecord{})
			r.model.finish(a)
		}
		r.same(s.Destroy(ctx), want)
	case 11:
		grace := time.Duration(rnd.IntN(3)*rnd.IntN(100)) * time.Second
		r.logf("actor %d: regenerate %v", i, grace)
		want := r.model.ready(a, true)
		if want == nil && r.model.outlived(a) {
			r.model.finish(a)
			want = ErrNotFound
		}
		id, err := s.Regenerate(ctx, grace)
		r.same(err, want)
		if err != nil {
			return
		}
		r.logf("actor %d: new id %s", i, id)
		r.names = append(r.names, id)
		old := a.id
		if a.stored {
			a.expires = r.model.end(a.state, a.idle)
			r.model.stored[id] = modelRecord{modelState: a.origin, expires: a.expires}
		}
		from, to := r.model.lock(old), r.model.lock(id)
		from.holders, to.holders, a.id = nil, []*actor{a}, id
		if grace > 0 {
			r.model.putMarker(old, modelRecord{target: id, follow: time.Now().Add(grace).Truncate(time.Millisecond)})
			to.queue, from.queue = from.queue, nil
			for _, w := range to.queue {
				w.id = id
			}
		} else {
			r.model.putMarker(old, modelRecord{})
		}
		r.model.advance(old)
		r.model.advance(id)
	}
}

var modelSeed = flag.Uint64("model.seed", 0, "the seed of the only run of TestAgainstModel")

// TestAgainstModel: several connections do random things. The package and the model must return the same results in
// the same instant.
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
			settings := DefaultSettings()
			settings.Lifetime, settings.EmptyLifetime = 5*time.Minute, time.Minute
			settings.Strict = rnd.IntN(3) == 0
			if rnd.IntN(2) == 0 {
				settings.AbsoluteLifetime = 15 * time.Minute
			}
			if rnd.IntN(2) == 0 {
				settings.MaxSessions, settings.MaxWaiters = 1+rnd.IntN(4), 1+rnd.IntN(3)
			}
			r := &run{
				T: t, rnd: rnd,
				m:      NewManager(memory.New(memory.Options{}), Options{}),
				tenant: &Tenant{Name: "acme", Settings: settings},
				model:  &model{settings: settings, stored: map[string]modelRecord{}, locks: map[string]*modelLock{}},
				names:  []string{"the-first-session", "the-second-session"},
				real:   make([]*Session, actors), waits: make([]chan opened, actors),
			}
			for range actors {
				r.actors = append(r.actors, &actor{})
			}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			for range 300 {
				r.step(rnd.IntN(actors))
				r.collect()
				switch rnd.IntN(20) {
				case 0:
					r.sleep(time.Duration(rnd.Int64N(int64(5 * time.Minute))))
				case 1, 2, 3, 4, 5, 6, 7, 8:
					r.sleep(time.Duration(rnd.Int64N(int64(10 * time.Second))))
				}
			}
			for i, s := range r.real { // the waiters get their turn when the other actors end
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
					r.collect()
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
