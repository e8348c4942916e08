package server

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurnsFair: who has many connections waits for who has few, and nobody catches up on what they have not asked for.
func TestTurnsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := turns{free: 1}
		var loud, quiet, late line
		var order []*line
		var waiting sync.WaitGroup
		queue := func(l *line, n int) {
			for range n {
				waiting.Go(func() {
					s.take(l, 0)
					order = append(order, l) // the turn is one
					s.give(l, time.Microsecond)
				})
				synctest.Wait()
			}
		}
		for range 1000 { // nobody else wants anything: this is held against nobody
			s.take(&loud, time.Millisecond)
			s.give(&loud, 0)
		}
		s.take(&loud, 0)
		queue(&loud, 5)
		queue(&quiet, 2)
		queue(&late, 1)
		s.give(&loud, 0)
		waiting.Wait()
		if slices.Contains(order[:2], &loud) || slices.Index(order[4:], &quiet) >= 0 {
			t.Errorf("loud %p, quiet %p, late %p, and turns were %p", &loud, &quiet, &late, order)
		}
		if len(order) != 8 || s.free != 1 || len(s.lines) != 0 {
			t.Errorf("%d turns, %d free, %d lines", len(order), s.free, len(s.lines))
		}
		// What was owed is paid first.
		order = nil
		s.take(&late, 0)
		queue(&quiet, 3)
		s.mu.Lock()
		s.lines[0].time += time.Second
		s.mu.Unlock()
		queue(&late, 3)
		s.give(&late, 0)
		waiting.Wait()
		if !slices.Equal(order, []*line{&late, &late, &late, &quiet, &quiet, &quiet}) {
			t.Errorf("quiet %p owes, late %p does not, and turns were %p", &quiet, &late, order)
		}
	})
}

// TestTurnsOverdue: those who hang hold up nobody, and when they come back there are as many turns as before.
func TestTurnsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := turns{free: 2, polls: true}
		var loud, quiet line
		for range 2 {
			s.take(&loud, 0)
		}
		began := time.Now()
		for range 3 {
			s.take(&quiet, 0)
			s.give(&quiet, 0)
		}
		if waited := time.Since(began); waited > 2*turnLate {
			t.Errorf("waited %v", waited)
		}
		for range 2 {
			s.give(&loud, turnLate)
		}
		if s.free != 2 || s.lent != 0 {
			t.Errorf("%d turns are free, %d lent", s.free, s.lent)
		}
	})
}

// TestTurnsStress: every turn comes back, and never more are given at once than there are.
func TestTurnsStress(t *testing.T) {
	s := turns{free: 2, polls: true}
	var lines [3]line
	var mu sync.Mutex
	var working, most int
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			for range 200 {
				s.take(&lines[i%3], 0)
				mu.Lock()
				working++
				most = max(most, working)
				mu.Unlock()
				mu.Lock()
				working--
				mu.Unlock()
				s.give(&lines[i%3], 20*time.Microsecond)
			}
		})
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) != 0 || s.free != 2+s.lent {
		t.Errorf("%d lines, %d turns are free, %d lent", len(s.lines), s.free, s.lent)
	}
	if most > 2+s.lent {
		t.Errorf("%d had a turn at once", most)
	}
}

// TestTurnsAllocate: where nobody waits a turn costs no memory.
func TestTurnsAllocate(t *testing.T) {
	s := turns{free: 1}
	var l line
	if n := testing.AllocsPerRun(1000, func() {
		s.take(&l, 0)
		s.give(&l, 0)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
