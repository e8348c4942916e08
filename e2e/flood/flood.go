package flood

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"sessionserver/wire"
)

// Flood is a flood of one app.
type Flood struct {
	Addr   string   // of the server
	From   string   // the IP address of the clients
	App    string   // tenant/app
	Secret string   // of the app
	Kinds  []string // of Kinds

	mu    sync.Mutex // guards tally
	tally Tally
}

// Tally counts the results of the clients, for each kind of flood: "ok", the code of a refusal, "connected",
// "not connected", or "ended" for a connection that the server closed.
type Tally map[string]map[string]int

// Total adds up the results of all kinds.
func (t Tally) Total() map[string]int {
	all := map[string]int{}
	for _, results := range t {
		for result, n := range results {
			all[result] += n
		}
	}
	return all
}

// environment is the variable that makes a test binary run a flood instead of its tests. It holds the flood as JSON.
const environment = "SESSIONSERVER_TEST_FLOOD"

// Main runs the flood that the environment describes and exits. It returns if there is none, so that TestMain can begin
// with it.
func Main() {
	text := os.Getenv(environment)
	if text == "" {
		return
	}
	f := new(Flood)
	err := json.Unmarshal([]byte(text), f)
	if err == nil {
		err = f.run(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run floods until the input ends. It writes the tally for each line of the input, and at the end.
func (f *Flood) run(in io.Reader, out io.Writer) error {
	f.tally = Tally{}
	ctx, cancel := context.WithCancel(context.Background())
	encoder := json.NewEncoder(out)
	report := func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return encoder.Encode(f.tally)
	}
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(in); lines.Scan() && report() == nil; {
		}
	}()
	var clients sync.WaitGroup
	for _, kind := range f.Kinds {
		for i := range kinds[kind].clients {
			clients.Go(func() { f.client(ctx, kind, i) })
		}
	}
	clients.Wait()
	return report()
}

// count adds a result to the tally.
func (f *Flood) count(kind, result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tally[kind] == nil {
		f.tally[kind] = map[string]int{}
	}
	f.tally[kind][result]++
}

// client connects and repeats the step of its kind until the connection ends. Then it connects again at once, as no
// client should.
func (f *Flood) client(ctx context.Context, kind string, number int) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(f.From)}, Timeout: 10 * time.Second}
	for ctx.Err() == nil {
		nc, err := dialer.DialContext(ctx, "tcp", f.Addr)
		if err != nil {
			f.count(kind, "not connected")
			pause(ctx, 10*time.Millisecond)
			continue
		}
		_ = nc.(*net.TCPConn).SetLinger(0) // without TIME_WAIT, which would limit the rate
		f.count(kind, "connected")
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		c := &conn{Conn: nc, in: bufio.NewReader(nc), flood: f, kind: kind, client: number}
		c.replies = wire.NewReplyReader(c.in)
		for err == nil {
			err = kinds[kind].step(ctx, c)
			c.steps++
		}
		if ctx.Err() == nil && !errors.Is(err, errLeave) {
			f.count(kind, "ended")
		}
		stop()
		_ = nc.Close()
	}
}

// errLeave reports that the client itself ends the connection.
var errLeave = errors.New("the client leaves")

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
