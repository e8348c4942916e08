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

// parallel is how many requests of one visitor come at once.
const parallel = 20

// patient makes a server that takes no lock away because the machine is busy.
const patient = "session: {lock_lease: 10m}\n"

// counted is what count.php keeps in a session.
type counted struct {
	N     int
	Order []string
}

// counted asks a host what count.php has kept.
func (v *visitor) counted(host string) counted {
	v.site.tb.Helper()
	var c counted
	v.site.must(json.Unmarshal([]byte(v.get(host, "show.php").Body), &c))
	return c
}

// hold opens a session for writing, past PHP.
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

// collect waits for the answers of requests.
func collect(t *testing.T, requests []<-chan answer) []answer {
	t.Helper()
	answers := make([]answer, len(requests))
	for i, r := range requests {
		answers[i] = <-r
	}
	return answers
}

// TestParallelRequests lets a visitor make 20 requests at once, to both hosts, each of which reads the session, changes it and writes it. No
// change is lost, and each sees those before it.
func TestParallelRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100&persistent=1", Workers: parallel/2 + 1})
	v := s.browser()
	v.want("east", "count.php?i=first", "1")
	var requests []<-chan answer
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
			t.Fatalf("the requests counted %v", numbers)
		}
	}
	got := v.counted("west")
	if got.N != parallel+1 || len(got.Order) != parallel+1 {
		t.Errorf("%d requests left %+v", parallel+1, got)
	}
	slices.Sort(got.Order)
	if len(slices.Compact(got.Order)) != parallel+1 {
		t.Errorf("a request was counted twice, another one never: %v", got.Order)
	}
}

// TestOrderOfArrival lets 20 requests come one after the other while the session is locked: they get it in that order.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: parallel/2 + 1})
	v := s.browser()
	v.want("east", "count.php?i=first", "1")
	held := hold(t, d, v.id())
	var requests []<-chan answer
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
		t.Errorf("they were served in the order %v", got.Order)
	}
}

// TestReadersTogether has 20 requests inside one session at the same time: none goes on before all have come.
func TestReadersTogether(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	writers := startSite(t, siteOptions{SavePath: "tcp://" + d.addr, Workers: 1})
	readers := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?mode=r&lock_timeout=100", Workers: parallel / 2})
	v := writers.browser()
	v.want("east", "count.php", "1")
	reader := &visitor{readers, v.http} // the same visitor with the same cookies
	var requests []<-chan answer
	for i := range parallel {
		requests = append(requests, reader.start(hosts[i%2], "barrier.php"))
	}
	var inside []*arrival
	for range parallel {
		a := readers.gate.await()
		if a.Says != "1" {
			t.Errorf("a reader says %q", a.Says)
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
	v.want("west", "count.php", "2")
}

// TestRestartBetweenRequests ends the server between the requests of a PHP worker, which finds it again without a word.
func TestRestartBetweenRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1", Workers: 1})
	v := s.browser()
	worker := v.want("east", "try.php", "saved 1").PID
	for n := 2; n < 6; n++ {
		if n%2 == 0 {
			d.kill()
		} else {
			d.stop()
		}
		d.start()
		if got := v.want("east", "try.php", fmt.Sprintf("saved %d", n)).PID; got != worker {
			t.Errorf("it was worker %d before, and is %d now", worker, got)
		}
	}
}

// TestRestartAmidRequest ends the server while a session is open. The session is saved all the same, unless another
// request has changed it since, or the server stays away: then the error says why. The worker goes on.
func TestRestartAmidRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&timeout=20", Workers: 1})
	v := s.browser()
	worker := v.want("east", "try.php", "saved 1").PID
	interrupt := func(by func()) answer {
		t.Helper()
		request := v.start("east", "midway.php")
		inside := s.gate.await()
		by()
		inside.pass()
		return <-request
	}
	if a := interrupt(d.restart); a.Body != "saved 2" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if got := v.want("east", "try.php", "saved 3").PID; got != worker {
		t.Errorf("it was worker %d before, and is %d now", worker, got)
	}

	lost := failure(t, interrupt(func() {
		d.restart()
		v.want("west", "try.php", "saved 4")
	}))
	if !strings.Contains(lost, "LockLostException") {
		t.Errorf("the error does not tell that somebody else has changed the session: %s", lost)
	}

	lost = failure(t, interrupt(d.kill))
	if !strings.Contains(lost, "ConnectionException") {
		t.Errorf("the error does not tell that the connection was lost: %s", lost)
	}
	down := failure(t, v.get("east", "try.php"))
	if !strings.Contains(down, d.addr) {
		t.Errorf("the error does not tell which server is not there: %s", down)
	}
	d.start()
	v.want("east", "try.php", "saved 5")
	v.want("west", "try.php", "saved 6")
}

// TestStoppedServer stops the server without a word. All pages that need no session are served, by the one worker that
// no page with a session holds up.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{"?timeout=100", "?timeout=100&persistent=1"} {
		d := startDaemon(t, patient)
		s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + parameters, Workers: 4})
		v := s.browser()
		for n := range 16 { // workers have streams by then
			v.want("east", "try.php", fmt.Sprintf("saved %d", n+1))
		}
		d.freeze()
		var stalled []<-chan answer
		for range 3 {
			stalled = append(stalled, v.start("east", "queue.php"))
			s.gate.await().pass() // it calls session_start() next
		}
		for range 20 {
			v.want("east", "plain.php", "no session")
		}
		for _, request := range stalled {
			select {
			case a := <-request:
				t.Errorf("it did not wait for the server: %d %s", a.Status, a.Body)
			default:
			}
		}
		d.thaw()
		for _, a := range collect(t, stalled) {
			if !strings.HasPrefix(a.Body, "saved ") {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		}
		v.want("east", "try.php", "saved 20")
	}
}

// TestDrainAmidRequest asks the server to end while a session is open: the session is saved before it does.
func TestDrainAmidRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient+"limits: {drain_timeout: 10m}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1", Workers: 1})
	v := s.browser()
	v.want("east", "try.php", "saved 1")
	request := v.start("east", "midway.php")
	inside := s.gate.await()
	d.drain()
	inside.pass()
	if a := <-request; a.Body != "saved 2" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	d.stop()
	d.start()
	v.want("west", "try.php", "saved 3")
	v.want("east", "try.php", "saved 4")
}

// failure wants an answer that tells of an exception, and not of a success.
func failure(t *testing.T, a answer) string {
	t.Helper()
	if a.Status != http.StatusOK || !strings.Contains(a.Body, "Exception: ") {
		t.Fatalf("an error was to be seen, not: %d %s", a.Status, a.Body)
	}
	t.Log(a.Body)
	return a.Body
}

// TestWorkerKilled kills PHP in the midst of a request: the lock is free at once, and the session is as it was.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: 2})
	v := s.browser()
	v.want("east", "try.php", "saved 1")
	before := v.get("east", "show.php").Body
	for range 3 {
		request := v.start("east", "midway.php")
		s.gate.await().kill(t)
		if a := <-request; a.Status == http.StatusOK {
			t.Errorf("a killed worker answered: %s", a.Body)
		}
		v.want("west", "show.php", before)
	}
	v.want("east", "try.php", "saved 2")
	v.want("west", "try.php", "saved 3")
}

// TestWaitingWorkerKilled kills PHP while it waits for the lock: it leaves the queue, and who came after it is next.
func TestWaitingWorkerKilled(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100", Workers: 2})
	v := s.browser()
	v.want("east", "try.php", "saved 1")
	held := hold(t, d, v.id())
	doomed := v.start("east", "queue.php")
	worker := s.gate.await()
	worker.pass()
	d.awaitWaiters(1)
	next := v.start("west", "try.php")
	d.awaitWaiters(2)
	worker.kill(t)
	if a := <-doomed; a.Status == http.StatusOK {
		t.Errorf("a killed worker answered: %s", a.Body)
	}
	if err := held.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if a := <-next; a.Body != "saved 2" {
		t.Errorf("the next one got %d %s", a.Status, a.Body)
	}
}

// kill kills the script's worker.
func (a *arrival) kill(t *testing.T) {
	t.Helper()
	pid, err := strconv.Atoi(a.Says)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestDeath ends PHP in the midst of a session in the ways in which PHP ends. A worker that lives on has nothing of that session left over for
// the next visitor, whose stream is the same, and the session is free and whole.
func TestDeath(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100", Workers: 1})
	for _, way := range []string{"memory", "time", "exception", "exit", "signal"} {
		one, other := s.browser(), s.browser()
		one.want("east", "try.php", "saved 1")
		other.want("east", "try.php", "saved 1")
		if _, err := one.fetch("east", "die.php?of="+way, nil); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		other.want("east", "try.php", "saved 2")
		var n int
		if _, err := fmt.Sscanf(one.get("west", "try.php").Body, "saved %d", &n); err != nil || n != 2 && n != 3 {
			t.Errorf("%s: the session counts %d, %v", way, n, err)
		}
		other.want("west", "try.php", "saved 3")
	}
}

// TestLoginAmidRequests changes the id of a session for which others wait under the old one: they find it under the new one.
func TestLoginAmidRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient+"log: {level: debug}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?lock_timeout=100&grace=120", Workers: 4})
	v := s.browser()
	v.want("west", "who.php", "nobody 1")
	old := v.id()
	login := v.start("east", "login.php")
	inside := s.gate.await()
	var late []<-chan answer
	for i := range 6 {
		late = append(late, v.start(hosts[i%2], "who.php"))
		d.awaitWaiters(i + 1)
	}
	inside.pass()
	if a := <-login; a.Status != http.StatusOK || a.Body == old {
		t.Errorf("the login answers %d %s; the id was %s", a.Status, a.Body, old)
	}
	for i, a := range collect(t, late) {
		if want := fmt.Sprintf("zoe %d", i+2); a.Body != want {
			t.Errorf("a request with the old id answers %d %q, not %q", a.Status, a.Body, want)
		}
	}
	v.want("west", "who.php", "zoe 8")
	if v.id() == old {
		t.Error("the visitor still has the old id")
	}
}

// TestLockLost lets a request take longer than a lock lasts: the next one gets the session, and the first one is told that it saves nothing.
func TestLockLost(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "session: {lock_lease: 1s}\n")
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100", Workers: 1})
	v := s.browser()
	v.want("east", "try.php", "saved 1")
	slow := v.start("east", "midway.php")
	inside := s.gate.await()
	v.want("west", "try.php", "saved 2")
	inside.pass()
	if said := failure(t, <-slow); !strings.Contains(said, "LockLostException") {
		t.Errorf("the slow request says: %s", said)
	}
	v.want("east", "try.php", "saved 3")
}

// TestAnythingGoes lets visitors share a few workers and their streams, while requests end in every way and the server is restarted again and
// again. Nobody gets another one's session, and what was acknowledged stays.
func TestAnythingGoes(t *testing.T) {
	t.Parallel()
	const visitors, requests, between = 6, 80, 100
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr + "?persistent=1&lock_timeout=100&grace=120", Workers: 2})
	made := make(chan struct{}, visitors*requests)
	var all sync.WaitGroup
	for i := range visitors {
		all.Go(func() { anything(t, s.browser(), fmt.Sprintf("visitor%d", i), requests, made) })
	}
	go func() {
		all.Wait()
		close(made)
	}()
	n := 0
	for range made {
		n++
		switch n % (2 * between) {
		case between - 1:
			d.restart()
		case 2*between - 1:
			d.stop()
			d.start()
		}
	}
}

// anything makes requests and holds the counter of the session against those that were acknowledged. After one that failed it may have been
// saved or not.
func anything(t *testing.T, v *visitor, name string, requests int, made chan<- struct{}) {
	last, unsure := 0, 0
	for range requests {
		end := []string{"", "", "", "", "kill", "memory", "regenerate", "abort"}[rand.IntN(8)]
		a, err := v.fetch(hosts[rand.IntN(2)], "any.php?owner="+name+"&end="+end, nil)
		made <- struct{}{}
		number, saved := strings.CutPrefix(a.Body, "saved ")
		n, _ := strconv.Atoi(number)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
			return
		case saved && (n <= last || n > last+unsure+1):
			t.Errorf("%s counts %d; acknowledged was %d, and %d more are not certain", name, n, last, unsure)
			return
		case saved:
			last, unsure = n, 0
		case a.Body == "aborted":
		case a.Status == http.StatusOK && !strings.Contains(a.Body, "Exception: "):
			t.Errorf("%s: %s", name, a.Body)
			return
		default:
			unsure++
		}
	}
	if last == 0 {
		t.Errorf("%s has saved nothing: the test has tested nothing", name)
	}
}

// TestAnyBytes carries any bytes through browser, nginx, PHP and server, and back through another host.
func TestAnyBytes(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, patient)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr, Workers: 1})
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	v := s.browser()
	v.send("east", "put.php", bytes.NewReader(nil))
	size := func(n int) int { // of the session as PHP writes it, with n bytes in it
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
		"every byte": every, "random": random, "none": {}, "emoji": []byte("👩‍👩‍👧‍👦 naïve 日本"),
		"like the protocol": []byte("\r\nclose\r\n*1\r\n$5\r\nclose\r\nerr NOKEY\r\n"),
		"1 MiB":             bytes.Repeat([]byte("\x00\r\n\xff"), megabyte/4)[:filling],
		"3 MiB":             bytes.Repeat([]byte("\x00\r\n\xff"), 3*megabyte/4),
	} {
		a := v.send("east", "put.php", bytes.NewReader(data))
		if !strings.HasPrefix(a.Body, "saved ") || name == "1 MiB" && a.Body != fmt.Sprintf("saved %d", megabyte) {
			t.Errorf("%s: %s", name, a.Body)
		}
		if got := v.get("west", "take.php").Body; got != string(data) {
			t.Errorf("%s: %d bytes became %d bytes %.60q…", name, len(data), len(got), got)
		}
	}

	before := v.get("west", "take.php").Body
	for _, size := range []int{4 * megabyte, 6 * megabyte} { // more than the server takes for a session, and in a request
		if said := failure(t, v.send("east", "put.php", bytes.NewReader(make([]byte, size)))); !strings.Contains(said, "TooLarge") {
			t.Errorf("%d bytes are refused with: %s", size, said)
		}
		if got := v.get("west", "take.php").Body; got != before {
			t.Errorf("a session that could not be saved has %d bytes, and had %d", len(got), len(before))
		}
	}
}
