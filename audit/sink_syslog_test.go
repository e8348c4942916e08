package audit

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

var (
	localMessage  = regexp.MustCompile(`^<86>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d sessionserver\[\d+\]: (\{.*\})$`)
	remoteMessage = regexp.MustCompile(`^<86>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d) \S+ ` +
		`sessionserver\[\d+\]: (\{.*\})$`)
)

// message returns the event of a syslog message.
func message(t *testing.T, format *regexp.Regexp, text string) line {
	t.Helper()
	m := format.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("invalid message: %q", text)
	}
	return readLines(t, []byte(m[1]+"\n"))[0]
}

func TestSyslogDatagrams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, row := range []struct {
		network, address, output string
		format                   *regexp.Regexp
	}{
		{"unixgram", path, "syslog:unix:" + path, localMessage},
		{"udp", "127.0.0.1:0", "syslog:udp://", remoteMessage},
	} {
		peer, err := net.ListenPacket(row.network, row.address)
		if err != nil {
			t.Fatal(err)
		}
		if row.network == "udp" {
			row.output += peer.LocalAddr().String()
		}
		receive := func() line {
			t.Helper()
			buf := make([]byte, 65536)
			_ = peer.SetReadDeadline(time.Now().Add(2 * time.Minute))
			n, _, err := peer.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			return message(t, row.format, string(buf[:n]))
		}
		l, _ := openFile(t, Options{Output: row.output})
		for i, c := range []Code{ServerStarted, AuthFailed} {
			if err := l.Record(Event{Code: c, Detail: "a\nb"}); err != nil {
				t.Fatal(err)
			}
			if got := receive(); got.Event != c.String() || got.Seq != uint64(i+1) || got.Detail != "a\nb" {
				t.Errorf("%s: %+v", row.network, got)
			}
		}
		if row.network == "unixgram" { // the daemon restarts
			_ = peer.Close()
			_ = os.Remove(path)
			if err := l.Record(Event{Code: SessionCreated}); !errors.Is(err, ErrNotWritten) {
				t.Errorf("Record without a daemon: %v", err)
			}
			if peer, err = net.ListenPacket(row.network, row.address); err != nil {
				t.Fatal(err)
			}
			if got := receive(); got.Event != "audit.lost" || got.Count != 1 {
				t.Errorf("%+v", got)
			}
			_ = peer.Close()
			_ = os.Remove(path)
			if peer, err = net.ListenPacket(row.network, row.address); err != nil {
				t.Fatal(err)
			}
			require.Eventually(t, "the log recovers", func() bool { return l.Err() == nil })
			record(t, l, SessionDestroyed) // a short restart loses no event
			if got := receive(); got.Event != "session.destroyed" {
				t.Errorf("%+v", got)
			}
		}
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
		record(t, l, ServerStopped)
		if got := receive(); got.Event != "server.stopped" {
			t.Errorf("%+v", got)
		}
		_ = l.Close()
		_ = peer.Close()
	}
}

// TestSyslogStreams checks that each message is a line, and that a restart of the daemon loses no event.
func TestSyslogStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, row := range []struct {
		network, address, output string
		format                   *regexp.Regexp
	}{
		{"unix", path, "syslog:unix:" + path, localMessage},
		{"tcp", "127.0.0.1:0", "syslog:tcp://", remoteMessage},
	} {
		peer, err := net.Listen(row.network, row.address)
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		if row.network == "tcp" {
			row.output += peer.Addr().String()
		}
		l, _ := openFile(t, Options{Output: row.output})
		for i, c := range []Code{ServerStarted, AuthFailed, ServerStopped} {
			record(t, l, c) // connects again, except for the first
			conn, err := peer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			record(t, l, c)
			in := bufio.NewScanner(conn)
			for j := range 2 {
				if !in.Scan() {
					t.Fatal(in.Err())
				}
				if got := message(t, row.format, in.Text()); got.Event != c.String() || got.Seq != uint64(2*i+j+1) {
					t.Errorf("%s: %+v", row.network, got)
				}
			}
			_ = conn.Close()
			require.Eventually(t, "the end of the stream is detected", l.queue.sink.(*syslog).peerClosed.Load)
		}
		_ = l.Close()
	}
}

// TestSyslogHangs checks that a daemon that does not read counts as failed.
func TestSyslogHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, network := range []string{"unix", "unixgram"} {
		if network == "unix" {
			peer, err := net.Listen(network, path) // without Accept
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
		} else {
			peer, err := net.ListenPacket(network, path)
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
		}
		l, _ := openFile(t, Options{Output: "syslog:unix:" + path, Timeout: 50 * time.Millisecond})
		n, err := 0, error(nil)
		for ; err == nil; n++ { // until the buffers of the system are full
			err = l.Record(Event{Code: SessionCreated, Detail: strings.Repeat("x", 200)})
		}
		if !errors.Is(err, ErrNotWritten) {
			t.Errorf("%s: after %d events: %v", network, n, err)
		}
		if err := l.Err(); err == nil {
			t.Error("Err returned nil after a failed write")
		}
		_ = l.Close()
		_ = os.Remove(path)
	}
}
