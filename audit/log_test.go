package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a sink that keeps its lines, and fails or hangs on request.
type memory struct {
	mu       sync.Mutex
	text     []byte
	writes   int
	reopened int
	broken   error         // error of write
	kept     int           // lines that it keeps despite the error
	hang     chan struct{} // blocks write until it is closed, unless nil
	closed   bool
}

func (m *memory) write(lines []byte, _ time.Time) (int, error) {
	m.mu.Lock()
	hang := m.hang
	m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		panic("the sink is used after close")
	}
	if m.broken == nil {
		m.text = append(m.text, lines...)
		if len(lines) > 0 {
			m.writes++
		}
		return countLines(lines), nil
	}
	n := 0
	for l := range bytes.Lines(lines) {
		if n == m.kept {
			break
		}
		m.text = append(m.text, l...)
		n++
	}
	return n, m.broken
}

func (m *memory) reopen(time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reopened++
	return m.broken
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) set(broken error, hang chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken, m.hang = broken, hang
}

// events returns the events of its lines, as "seq code count".
func (m *memory) events(t *testing.T) []string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, l := range readLines(t, m.text) {
		text := fmt.Sprintf("%d %s", l.Seq, l.Event)
		if l.Count != 0 {
			text += fmt.Sprintf(" %d", l.Count)
		}
		all = append(all, text)
	}
	return all
}

// counts is an observer that counts its calls.
type counts struct {
	mu                                      sync.Mutex
	written, lines, lost, failed, recovered int
	troubles                                []error
}

func (c *counts) Written(Code)                   { c.mu.Lock(); c.written++; c.mu.Unlock() }
func (c *counts) Flushed(n int, _ time.Duration) { c.mu.Lock(); c.lines += n; c.mu.Unlock() }
func (c *counts) Failed(error)                   { c.mu.Lock(); c.failed++; c.mu.Unlock() }
func (c *counts) Recovered()                     { c.mu.Lock(); c.recovered++; c.mu.Unlock() }
func (c *counts) Lost(n int)                     { c.mu.Lock(); c.lost += n; c.mu.Unlock() }
func (c *counts) Troubled(err error) {
	c.mu.Lock()
	c.troubles = append(c.troubles, err)
	c.mu.Unlock()
}

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("written %d, flushed %d, lost %d, failed %d, recovered %d", c.written, c.lines, c.lost, c.failed,
		c.recovered)
}

// newLog returns a log that writes to m.
func newLog(t *testing.T, m *memory, onFailure OnFailure) (*Log, *counts) {
	t.Helper()
	c := &counts{}
	l := &Log{queue: newQueue(m, time.Second, c), onFailure: onFailure, output: "/memory"}
	if err := l.queue.start(); err != nil {
		t.Fatal(err)
	}
	return l, c
}

func record(t *testing.T, l *Log, c Code) {
	t.Helper()
	if err := l.Record(Event{Code: c}); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func wantCounts(t *testing.T, c *counts, want string) {
	t.Helper()
	if c.String() != want {
		t.Errorf("got:  %s\nwant: %s", c, want)
	}
}

// TestRecord checks that a line is in the log when Record returns, and that a filtered event takes no number.
func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, c := newLog(t, m, Refuse)
		l.events, _ = ParseEvents([]string{"all", "-session.created"})
		record(t, l, ServerStarted)
		record(t, l, SessionCreated)
		want(t, m.events(t), "1 server.started")
		l.Note(Event{Code: SessionExpired, Count: 3})
		synctest.Wait()
		want(t, m.events(t), "1 server.started", "2 session.expired 3")
		if err := l.Reopen(); err != nil || m.reopened != 1 {
			t.Errorf("the sink was reopened %d times: %v", m.reopened, err)
		}
		l.Note(Event{Code: ServerStopped})
		for range 2 {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		want(t, m.events(t), "1 server.started", "2 session.expired 3", "3 server.stopped")
		if err := l.Record(Event{Code: AuthFailed}); !errors.Is(err, ErrNotWritten) || !errors.Is(err, errClosed) {
			t.Errorf("Record after Close: %v", err)
		}
		if err := l.Reopen(); !errors.Is(err, errClosed) {
			t.Errorf("Reopen after Close: %v", err)
		}
		wantCounts(t, c, "written 3, flushed 3, lost 1, failed 0, recovered 0")
	})
}

// TestRefuse checks that a failed log returns its error at once until it recovers, that it retries by itself, and
// that its first line then reports the lost events.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, c := newLog(t, m, Refuse)
		defer l.Close()
		record(t, l, ServerStarted)
		full := errors.New("the disk is full")
		m.set(full, nil)
		for range 3 {
			if err := l.Record(Event{Code: SessionCreated}); !errors.Is(err, ErrNotWritten) || !errors.Is(err, full) {
				t.Fatalf("Record: %v", err)
			}
			if err := l.Err(); err == nil || err.Error() != "audit: the log cannot be written: the disk is full" {
				t.Fatalf("Err: %v", err)
			}
		}
		wantCounts(t, c, "written 1, flushed 1, lost 3, failed 1, recovered 0")
		time.Sleep(time.Minute) // fake clock
		synctest.Wait()
		retries := c.failed
		if retries < 20 || retries > 40 {
			t.Errorf("%d retries in a minute", retries)
		}
		l.Note(Event{Code: SessionExpired})
		m.set(nil, nil)
		time.Sleep(retryMax)
		synctest.Wait()
		if err := l.Err(); err != nil {
			t.Errorf("Err after the recovery: %v", err)
		}
		record(t, l, AuthFailed)
		// The number of missing numbers equals that of the lost events.
		want(t, m.events(t), "1 server.started", "6 audit.lost 4", "7 auth.failed")
		if last := readLines(t, m.text)[1]; last.Detail != "the disk is full" {
			t.Errorf("detail: %q", last.Detail)
		}
		wantCounts(t, c, fmt.Sprintf("written 3, flushed 3, lost 4, failed %d, recovered 1", retries))
	})
}

// TestReopenRetries checks that Reopen retries at once, so that an operator who has freed space need not wait.
func TestReopenRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Refuse)
		defer l.Close()
		m.set(errors.New("x"), nil)
		l.Note(Event{Code: SessionExpired})
		time.Sleep(time.Minute)
		if err := l.Reopen(); err == nil || !strings.HasPrefix(err.Error(), "audit: the log was not reopened: x") {
			t.Errorf("Reopen: %v", err)
		}
		m.set(nil, nil)
		at := time.Now()
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := l.Err(); err != nil || time.Since(at) != 0 {
			t.Errorf("after %v: %v", time.Since(at), err)
		}
		want(t, m.events(t), m.events(t)...)
	})
}

func TestContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, c := newLog(t, m, Continue)
		m.set(errors.New("the disk is full"), nil)
		for range 5 {
			record(t, l, SessionCreated)
			if err := l.Err(); err != nil {
				t.Error(err)
			}
		}
		wantCounts(t, c, "written 0, flushed 0, lost 5, failed 1, recovered 0")
		m.set(nil, nil)
		if err := l.Close(); err != nil { // it retries once
			t.Error(err)
		}
		want(t, m.events(t), "6 audit.lost 5")
	})
}

// TestCloseWhileItFails checks that Close of a failed log returns an error, without a long wait.
func TestCloseWhileItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Continue)
		m.set(errors.New("the disk is full"), nil)
		record(t, l, SessionCreated)
		for range 2 {
			if err := l.Close(); !errors.Is(err, ErrNotWritten) {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

// TestSomeWritten checks that only the unwritten lines of a batch are lost.
func TestSomeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{kept: 2}
		l, c := newLog(t, m, Refuse)
		hang := make(chan struct{})
		m.set(nil, hang)
		l.Note(Event{Code: SessionCreated})
		synctest.Wait()
		for range 5 {
			l.Note(Event{Code: SessionExpired}) // waits in the queue
		}
		m.set(nil, nil)
		m.mu.Lock()
		m.broken = errors.New("x")
		m.mu.Unlock()
		close(hang)
		synctest.Wait()
		// The first batch was written whole, despite the error; the queue was discarded.
		wantCounts(t, c, "written 1, flushed 1, lost 5, failed 1, recovered 0")
		time.Sleep(time.Hour) // each retry writes the report of the lost events, which then counts as written
		synctest.Wait()
		got := m.events(t)
		want(t, got[:2], "1 session.created", "7 audit.lost 5")
		if err := l.Err(); err == nil {
			t.Error("Err returned nil after a failed write")
		}
		m.set(nil, nil)
		_ = l.Close()
		for _, e := range m.events(t)[2:] {
			t.Errorf("unexpected line: %s", e)
		}
	})
}

// TestHang checks that a hanging sink counts as failed after the timeout. Callers whose lines are in the batch or in
// the queue are released then; later callers do not wait. A line that the sink writes in the end is not lost.
func TestHang(t *testing.T) {
	for _, onFailure := range []OnFailure{Refuse, Continue} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{}
			l, c := newLog(t, m, onFailure)
			hang := make(chan struct{})
			m.set(nil, hang)
			at := time.Now()
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() {
					err := l.Record(Event{Code: SessionCreated})
					if onFailure == Refuse && !errors.Is(err, errTimeout) || onFailure == Continue && err != nil ||
						time.Since(at) != time.Second {
						t.Errorf("caller %d after %v: %v", i, time.Since(at), err)
					}
				})
				synctest.Wait()
			}
			all.Wait()
			if err := l.Record(Event{Code: SessionCreated}); (err == nil) != (onFailure == Continue) ||
				time.Since(at) != time.Second {
				t.Errorf("a later caller after %v: %v", time.Since(at), err)
			}
			if err := l.Reopen(); !errors.Is(err, errTimeout) {
				t.Errorf("Reopen: %v", err)
			}
			wantCounts(t, c, "written 0, flushed 0, lost 3, failed 1, recovered 0")
			m.set(nil, nil)
			close(hang)
			synctest.Wait()
			record(t, l, AuthFailed)
			want(t, m.events(t), "1 session.created", "5 audit.lost 3", "6 auth.failed")
			wantCounts(t, c, "written 3, flushed 3, lost 3, failed 1, recovered 1")
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloseWhileItHangs checks that Close returns while the sink hangs.
func TestCloseWhileItHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Refuse)
		hang := make(chan struct{})
		m.set(nil, hang)
		l.Note(Event{Code: ServerStopped})
		at := time.Now()
		if err := l.Close(); !errors.Is(err, errTimeout) || time.Since(at) > 3*time.Second {
			t.Errorf("Close after %v: %v", time.Since(at), err)
		}
		close(hang)
		<-l.queue.ended
	})
}

// TestOpenWhileItHangs checks that opening returns while the sink hangs.
func TestOpenWhileItHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{hang: make(chan struct{})}
		q := newQueue(m, time.Second, noObserver{})
		if err := q.start(); !errors.Is(err, errTimeout) {
			t.Errorf("start: %v", err)
		}
		close(m.hang)
		if err := q.close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOneWrite checks that events recorded during a write share the next one.
func TestOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Refuse)
		defer l.Close()
		hang := make(chan struct{})
		m.set(nil, hang)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { record(t, l, SessionCreated) })
		}
		synctest.Wait()
		m.set(nil, nil)
		close(hang)
		all.Wait()
		if got := m.events(t); len(got) != 100 || m.writes > 2 {
			t.Errorf("%d events in %d writes", len(got), m.writes)
		}
	})
}

// TestTooManyNotes checks that the queue is bounded: Note waits when it is full.
func TestTooManyNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Refuse)
		defer l.Close()
		hang := make(chan struct{})
		m.set(nil, hang)
		const n = 30_000
		go func() {
			for range n {
				l.Note(Event{Code: SessionExpired})
			}
		}()
		synctest.Wait()
		if waiting := len(l.queue.entries); waiting != queueMax {
			t.Errorf("%d events wait, want %d", waiting, queueMax)
		}
		m.set(nil, nil)
		close(hang)
		synctest.Wait()
		if got := len(m.events(t)); got != n {
			t.Errorf("%d of %d events are in the log", got, n)
		}
	})
}

// TestNumbersAccountForLosses records from many goroutines while the sink fails, hangs and recovers. A recorded event
// must be in the log once, and the missing numbers must equal the counts of the lost events.
func TestNumbersAccountForLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, c := newLog(t, m, Refuse)
		const recorders, each = 50, 200
		var recorded [recorders + 1][each]bool
		var all sync.WaitGroup
		for i := range recorders {
			all.Go(func() {
				for k := range each {
					err := l.Record(Event{Code: SessionCreated, Conn: uint64(i + 1), Count: int64(k + 1)})
					recorded[i+1][k] = err == nil
					l.Note(Event{Code: SessionExpired})
					time.Sleep(time.Duration(k%7) * time.Millisecond)
				}
			})
		}
		for i := range 12 {
			time.Sleep(30 * time.Millisecond)
			switch i % 3 {
			case 0:
				m.set(errors.New("the disk is full"), nil)
			case 1:
				hang := make(chan struct{})
				m.set(nil, hang)
				time.Sleep(3 * time.Second / time.Duration(1+i%2))
				m.set(nil, nil)
				close(hang)
			}
		}
		m.set(nil, nil)
		all.Wait()
		time.Sleep(retryMax)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var last, missing, reported uint64
		for _, x := range readLines(t, m.text) {
			if x.Seq <= last {
				t.Fatalf("number %d follows %d", x.Seq, last)
			}
			missing += x.Seq - last - 1
			last = x.Seq
			if x.Event == AuditLost.String() {
				reported += uint64(x.Count)
			} else if x.Connection > 0 {
				recorded[x.Connection][x.Count-1] = false
			}
		}
		for i := range recorded {
			for k, absent := range recorded[i] {
				if absent {
					t.Errorf("event %d of recorder %d was recorded, but is not in the log", k, i)
				}
			}
		}
		if missing != reported || reported == 0 || reported != uint64(c.lost) {
			t.Errorf("%d numbers are missing, %d lost events were reported, %d observed", missing, reported, c.lost)
		}
	})
}

// TestCauseOfLoss checks that the report of lost events names a failure only for the events that it lost.
func TestCauseOfLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, _ := newLog(t, m, Continue)
		defer l.Close()
		m.set(errors.New("the disk is full"), nil)
		record(t, l, SessionCreated)
		m.set(nil, nil)
		time.Sleep(retryMax)
		hang := make(chan struct{})
		m.set(nil, hang)
		l.Note(Event{Code: SessionExpired})
		synctest.Wait()
		for range queueMax + 3 {
			e := l.queue.newEntry(PolicyDecision, time.Now())
			e.body = appendBody(e.body, &Event{})
			_ = l.queue.send(e, false, true)
		}
		m.set(nil, nil)
		close(hang)
		synctest.Wait()
		var details []string
		for _, x := range readLines(t, m.text) {
			if x.Event == AuditLost.String() {
				details = append(details, fmt.Sprintf("%d: %s", x.Count, x.Detail))
			}
		}
		want(t, details, "1: the disk is full", "3: the queue was full")
	})
}

// TestNil checks that a nil log, which Open returns without an output, can be used.
func TestNil(t *testing.T) {
	l, err := Open(Options{})
	d, err2 := OpenDecisions(DecisionOptions{})
	if l != nil || d != nil || err != nil || err2 != nil {
		t.Fatal(l, d, err, err2)
	}
	d.Record(Decision{})
	l.Note(Event{})
	for _, err := range []error{l.Record(Event{}), l.Err(), l.Reopen(), l.Close(), d.Reopen(), d.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"Output":            {Output: "audit.log"},
		"Output: ":          {Output: "syslog:udp://host"},
		"Output: \"syslog:": {Output: "syslog:/a/b"},
		"MaxSize":           {Output: "./x", MaxSize: -1},
		"MaxAge":            {Output: "./x", MaxAge: -1},
		"Keep":              {Output: "./x", Keep: -1},
		"Timeout":           {Output: "./x", Timeout: -1},
		"OnFailure":         {Output: "./x", OnFailure: "ignore"},
	} {
		if _, err := Open(o); err == nil || !strings.HasPrefix(err.Error(), "audit: "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, sample := range []float64{-1, 1.5} {
		if _, err := OpenDecisions(DecisionOptions{Options: Options{Output: "./x"}, Sample: sample}); err == nil {
			t.Errorf("a sample of %v was accepted", sample)
		}
	}
}

// TestRecordAllocatesNothing checks a log that has entries to be used again.
func TestRecordAllocatesNothing(t *testing.T) {
	l, err := Open(Options{Output: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := Event{Code: SessionCreated, Tenant: "acme", App: "shop", Listener: "main", Session: [32]byte{1},
		Command: "close"}
	if n := testing.AllocsPerRun(1000, func() { _ = l.Record(e) }); n > 0.5 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = l.Err() }); n != 0 {
		t.Errorf("Err: %v allocations", n)
	}
}
