package php_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sessionserver/client"
)

// parallel is the number of concurrent requests of one visitor.
const parallel = 20

// longLease is a setting with a lease of locks that does not expire on a slow machine.
const longLease = "session: {lock_lease: 10m}\n"

// counted is the session of count.php.
type counted struct {
	N     int
	Order []string
}

// counted returns the session of count.php, from a host.
func (v *visitor) counted(host string) counted {
	v.site.tb.Helper()
	var c counted
	v.site.must(json.Unmarshal([]byte(v.get(host, "show.php").Body), &c))
	return c
}

// hold opens a session for writing with the Go client.
func hold(t *testing.T, d *daemon, id string) *client.Session {
	t.Helper()
	c, err := client.Dial(context.Background(), "tcp://"+d.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := c.Open(context.Background(), id, client.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collect waits for the responses of requests.
func collect(t *testing.T, requests []<-chan response) []response {
	t.Helper()
	responses := make([]response, len(requests))
	for i, r := range requests {
		responses[i] = <-r
	}
	return responses
}

// TestParallelRequests makes 20 concurrent requests of one visitor to both hosts. Each reads, changes and writes the
// session. No change is lost, and each request reads the changes before it.
func TestParallelRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	savePath := "tcp://" + d.addr + "?lock_timeout=100&persistent=1"
	s := startSite(t, siteOptions{SavePath: savePath, Workers: parallel/2 + 1})
	v := s.browser()
	v.expect("east", "count.php?i=first", "1")
	var requests []<-chan response
	for i := range parallel {
		requests = append(requests, v.start(hosts[i%2], fmt.Sprintf("count.php?i=%d", i)))
	}
	var numbers []int
	for i, a := range collect(t, requests) {
		n, err := strconv.Atoi(a.Body)
		if err != nil {
			t.Errorf("request %d: %d %s", i, a.Status, a.Body)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != i+2 {
			t.Fatalf("counts %v", numbers)
		}
	}
	got := v.counted("west")
	if got.N != parallel+1 || len(got.Order) != parallel+1 {
		t.Errorf("session after %d requests: %+v", parallel+1, got)
	}
	slices.Sort(got.Order)
	if len(slices.Compact(got.Order)) != parallel+1 {
		t.Errorf("duplicate and missing requests: %v", got.Order)
	}
}

// TestOrderOfArrival makes 20 requests for a locked session. They get the lock in the order of their arrival.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: parallel/2 + 1})
	v := s.browser()
	v.expect("east", "count.php?i=first", "1")
	held := hold(t, d, v.id())
	var requests []<-chan response
	want := []string{"first"}
	for i := range parallel {
		requests = append(requests, v.start(hosts[i%2], fmt.Sprintf("count.php?i=%d", i)))
		d.awaitWaiters(i + 1)
		want = append(want, strconv.Itoa(i))
	}
	if err := held.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, a := range collect(t, requests) {
		if a.Body != strconv.Itoa(i+2) {
			t.Errorf("request %d: %d %s", i, a.Status, a.Body)
		}
	}
	if got := v.counted("west"); !slices.Equal(got.Order, want) {
		t.Errorf("order %v, want %v", got.Order, want)
	}
}

// TestConcurrentReaders has 20 requests with mode=r in one session at the same time.
func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	writers := startSite(t, siteOptions{SavePath: "tcp://" + d.addr, Workers: 1})
	savePath := "tcp://" + d.addr + "?mode=r&lock_timeout=100"
	readers := startSite(t, siteOptions{SavePath: savePath, Workers: parallel / 2})
	v := writers.browser()
	v.expect("east", "count.php", "1")
	reader := &visitor{readers, v.http} // the same visitor with the same cookies
	var requests []<-chan response
	for i := range parallel {
		requests = append(requests, reader.start(hosts[i%2], "barrier.php"))
	}
	var inside []*arrival
	for range parallel {
		a := readers.gate.await()
		if a.Message != "1" {
			t.Errorf("a reader has n = %q", a.Message)
		}
		inside = append(inside, a)
	}
	for _, a := range inside {
		a.pass()
	}
	for i, a := range collect(t, requests) {
		if a.Status != http.StatusOK || a.Body != "n is 1" {
			t.Errorf("reader %d: %d %s", i, a.Status, a.Body)
		}
	}
	v.expect("west", "count.php", "2")
}

// TestRestartBetweenRequests restarts the server between the requests of a PHP worker, which reconnects without an
// error.
func TestRestartBetweenRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1", Workers: 1})
	v := s.browser()
	worker := v.expect("east", "try.php", "saved 1").PID
	for n := 2; n < 6; n++ {
		if n%2 == 0 {
			d.kill()
		} else {
			d.stop()
		}
		d.start()
		if got := v.expect("east", "try.php", fmt.Sprintf("saved %d", n)).PID; got != worker {
			t.Errorf("worker %d, want %d", got, worker)
		}
	}
}

// TestRestartDuringRequest restarts the server during an open session. The session is saved, unless another request has
// changed it or the server stays down. Then the exception has the reason, and the worker continues.
func TestRestartDuringRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&timeout=20", Workers: 1})
	v := s.browser()
	worker := v.expect("east", "try.php", "saved 1").PID
	interrupt := func(event func()) response {
		t.Helper()
		request := v.start("east", "midway.php")
		inside := s.gate.await()
		event()
		inside.pass()
		return <-request
	}
	if a := interrupt(d.restart); a.Body != "saved 2" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if got := v.expect("east", "try.php", "saved 3").PID; got != worker {
		t.Errorf("worker %d, want %d", got, worker)
	}

	lost := failure(t, interrupt(func() {
		d.restart()
		v.expect("west", "try.php", "saved 4")
	}))
	if !strings.Contains(lost, "LockLostException") {
		t.Errorf("exception %s, want a LockLostException", lost)
	}

	lost = failure(t, interrupt(d.kill))
	if !strings.Contains(lost, "ConnectionException") {
		t.Errorf("exception %s, want a ConnectionException", lost)
	}
	down := failure(t, v.get("east", "try.php"))
	if !strings.Contains(down, d.addr) {
		t.Errorf("exception %s does not contain the address of the server", down)
	}
	d.start()
	v.expect("east", "try.php", "saved 5")
	v.expect("west", "try.php", "saved 6")
}

// TestStoppedServer freezes the server. Pages without a session are served by the worker that waits for no session.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{"?timeout=100", "?timeout=100&persistent=1"} {
		d := startDaemon(t, longLease)
		s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + parameters, Workers: 4})
		v := s.browser()
		for n := range 16 { // so that the workers have streams
			v.expect("east", "try.php", fmt.Sprintf("saved %d", n+1))
		}
		d.freeze()
		var stalled []<-chan response
		for range 3 {
			stalled = append(stalled, v.start("east", "queue.php"))
			s.gate.await().pass() // the page calls session_start() next
		}
		for range 20 {
			v.expect("east", "plain.php", "no session")
		}
		for _, request := range stalled {
			select {
			case a := <-request:
				t.Errorf("response without the server: %d %s", a.Status, a.Body)
			default:
			}
		}
		d.thaw()
		for _, a := range collect(t, stalled) {
			if !strings.HasPrefix(a.Body, "saved ") {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		}
		v.expect("east", "try.php", "saved 20")
	}
}

// TestDrainDuringRequest shuts the server down during an open session, which is saved before the server ends.
func TestDrainDuringRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease+"limits: {drain_timeout: 10m}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1", Workers: 1})
	v := s.browser()
	v.expect("east", "try.php", "saved 1")
	request := v.start("east", "midway.php")
	inside := s.gate.await()
	d.drain()
	inside.pass()
	if a := <-request; a.Body != "saved 2" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	d.stop()
	d.start()
	v.expect("west", "try.php", "saved 3")
	v.expect("east", "try.php", "saved 4")
}

// failure returns the body of a response with an exception. Any other response fails the test.
func failure(t *testing.T, a response) string {
	t.Helper()
	if a.Status != http.StatusOK || !strings.Contains(a.Body, "Exception: ") {
		t.Fatalf("response without an exception: %d %s", a.Status, a.Body)
	}
	t.Log(a.Body)
	return a.Body
}

// TestWorkerKilled kills PHP during a request. The lock is released at once, and the session is unchanged.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: 2})
	v := s.browser()
	v.expect("east", "try.php", "saved 1")
	before := v.get("east", "show.php").Body
	for range 3 {
		request := v.start("east", "midway.php")
		s.gate.await().kill(t)
		if a := <-request; a.Status == http.StatusOK {
			t.Errorf("response of a killed worker: %s", a.Body)
		}
		v.expect("west", "show.php", before)
	}
	v.expect("east", "try.php", "saved 2")
	v.expect("west", "try.php", "saved 3")
}

// TestWaitingWorkerKilled kills PHP while it waits for the lock. It leaves the queue, and the next request gets the
// lock.
func TestWaitingWorkerKilled(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: 2})
	v := s.browser()
	v.expect("east", "try.php", "saved 1")
	held := hold(t, d, v.id())
	killed := v.start("east", "queue.php")
	worker := s.gate.await()
	worker.pass()
	d.awaitWaiters(1)
	next := v.start("west", "try.php")
	d.awaitWaiters(2)
	worker.kill(t)
	if a := <-killed; a.Status == http.StatusOK {
		t.Errorf("response of a killed worker: %s", a.Body)
	}
	if err := held.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if a := <-next; a.Body != "saved 2" {
		t.Errorf("next request: %d %s", a.Status, a.Body)
	}
}

// kill kills the worker of the script, whose message is its process id.
func (a *arrival) kill(t *testing.T) {
	t.Helper()
	pid, err := strconv.Atoi(a.Message)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestEndDuringSession ends PHP during an open session in several ways. A worker that survives keeps nothing of that
// session for the next visitor on the same stream. The session is unlocked and consistent.
func TestEndDuringSession(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100", Workers: 1})
	for _, way := range []string{"memory", "time", "exception", "exit", "signal"} {
		one, other := s.browser(), s.browser()
		one.expect("east", "try.php", "saved 1")
		other.expect("east", "try.php", "saved 1")
		if _, err := one.fetch("east", "die.php?of="+way, nil); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		other.expect("east", "try.php", "saved 2")
		var n int
		if _, err := fmt.Sscanf(one.get("west", "try.php").Body, "saved %d", &n); err != nil || n != 2 && n != 3 {
			t.Errorf("%s: count %d, %v", way, n, err)
		}
		other.expect("west", "try.php", "saved 3")
	}
}

// TestLogInDuringRequests changes the id of a session while other requests wait under the old id. They open the session
// under the new id.
func TestLogInDuringRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100&grace=120", Workers: 4})
	v := s.browser()
	v.expect("west", "who.php", "anonymous 1")
	old := v.id()
	logIn := v.start("east", "login.php")
	inside := s.gate.await()
	var late []<-chan response
	for i := range 6 {
		late = append(late, v.start(hosts[i%2], "who.php"))
		d.awaitWaiters(i + 1)
	}
	inside.pass()
	if a := <-logIn; a.Status != http.StatusOK || a.Body == old {
		t.Errorf("log-in: %d %s; the old id is %s", a.Status, a.Body, old)
	}
	for i, a := range collect(t, late) {
		if want := fmt.Sprintf("zoe %d", i+2); a.Body != want {
			t.Errorf("request with the old id: %d %q, want %q", a.Status, a.Body, want)
		}
	}
	v.expect("west", "who.php", "zoe 8")
	if v.id() == old {
		t.Error("the visitor still has the old id")
	}
}

// TestLockLost holds a session longer than the lease. The next request gets the session, and the first one gets an
// exception and saves nothing.
func TestLockLost(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "session: {lock_lease: 1s}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100", Workers: 1})
	v := s.browser()
	v.expect("east", "try.php", "saved 1")
	slow := v.start("east", "midway.php")
	inside := s.gate.await()
	v.expect("west", "try.php", "saved 2")
	inside.pass()
	if text := failure(t, <-slow); !strings.Contains(text, "LockLostException") {
		t.Errorf("exception %s, want a LockLostException", text)
	}
	v.expect("east", "try.php", "saved 3")
}

// TestRandomRequests has visitors share a few workers and their streams, while requests end in random ways and the
// server is restarted repeatedly. No visitor gets the session of another one, and no acknowledged save is lost.
func TestRandomRequests(t *testing.T) {
	t.Parallel()
	const visitors, requests, interval = 6, 80, 100
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100&grace=120", Workers: 2})
	done := make(chan struct{}, visitors*requests)
	var all sync.WaitGroup
	for i := range visitors {
		all.Go(func() { runVisitor(t, s.browser(), fmt.Sprintf("visitor%d", i), requests, done) })
	}
	go func() {
		all.Wait()
		close(done)
	}()
	n := 0
	for range done {
		n++
		switch n % (2 * interval) {
		case interval - 1:
			d.restart()
		case 2*interval - 1:
			d.stop()
			d.start()
		}
	}
}

// runVisitor makes random requests and compares the counter of the session with the acknowledged saves. After a failed
// request the save is uncertain.
func runVisitor(t *testing.T, v *visitor, name string, requests int, done chan<- struct{}) {
	last, uncertain := 0, 0
	for range requests {
		end := []string{"", "", "", "", "kill", "memory", "regenerate", "abort"}[rand.IntN(8)]
		a, err := v.fetch(hosts[rand.IntN(2)], "any.php?owner="+name+"&end="+end, nil)
		done <- struct{}{}
		number, saved := strings.CutPrefix(a.Body, "saved ")
		n, _ := strconv.Atoi(number)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
			return
		case saved && (n <= last || n > last+uncertain+1):
			t.Errorf("%s: count %d, last acknowledged %d, uncertain %d", name, n, last, uncertain)
			return
		case saved:
			last, uncertain = n, 0
		case a.Body == "aborted":
		case a.Status == http.StatusOK && !strings.Contains(a.Body, "Exception: "):
			t.Errorf("%s: %s", name, a.Body)
			return
		default:
			uncertain++
		}
	}
	if last == 0 {
		t.Errorf("%s: no save was acknowledged", name)
	}
}

// TestAnyBytes sends all bytes through browser, nginx, PHP and server, and reads them back from the other host.
func TestAnyBytes(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr, Workers: 1})
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	v := s.browser()
	v.send("east", "put.php", bytes.NewReader(nil))
	size := func(n int) int { // the size of the serialized session with n bytes of data
		a := v.send("east", "put.php", bytes.NewReader(make([]byte, n)))
		var got int
		if _, err := fmt.Sscanf(a.Body, "saved %d", &got); err != nil {
			t.Fatalf("with %d bytes: %s", n, a.Body)
		}
		return got
	}
	const megabyte = 1 << 20
	filling := megabyte - (size(1_000_000) - 1_000_000)
	for name, data := range map[string][]byte{
		"all bytes": all, "random": random, "empty": {}, "emoji": []byte("👩‍👩‍👧‍👦 naïve 日本"),
		"protocol lines": []byte("\r\nclose\r\n*1\r\n$5\r\nclose\r\nerr NOKEY\r\n"),
		"1 MiB":          bytes.Repeat([]byte("\x00\r\n\xff"), megabyte/4)[:filling],
		"3 MiB":          bytes.Repeat([]byte("\x00\r\n\xff"), 3*megabyte/4),
	} {
		a := v.send("east", "put.php", bytes.NewReader(data))
		if !strings.HasPrefix(a.Body, "saved ") || name == "1 MiB" && a.Body != fmt.Sprintf("saved %d", megabyte) {
			t.Errorf("%s: %s", name, a.Body)
		}
		if got := v.get("west", "take.php").Body; got != string(data) {
			t.Errorf("%s: %d bytes were read as %d bytes %.60q…", name, len(data), len(got), got)
		}
	}

	before := v.get("west", "take.php").Body
	for _, size := range []int{4 * megabyte, 6 * megabyte} { // beyond the limits of a session and of a request
		text := failure(t, v.send("east", "put.php", bytes.NewReader(make([]byte, size))))
		if !strings.Contains(text, "TooLarge") {
			t.Errorf("%d bytes: exception %s, want a TooLargeException", size, text)
		}
		if got := v.get("west", "take.php").Body; got != before {
			t.Errorf("a refused save changed the session from %d to %d bytes", len(before), len(got))
		}
	}
}
