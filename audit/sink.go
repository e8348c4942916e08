package audit

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// sink is where lines go. One goroutine uses it. It may hang: the queue notices, but cannot help it.
type sink interface {
	// write appends whole lines and answers how many of them are there. With an error those that are not must not be there in part, as far as
	// that is possible. It opens what is not open yet, or not any more; without lines that is all. It should give up after the deadline.
	write(lines []byte, deadline time.Time) (int, error)
	// reopen opens what its name stands for now. If that fails what is open stays.
	reopen(deadline time.Time) error
	close() error
}

// newSink makes the sink that an output names; nothing is opened yet. told hears what goes wrong beside writing.
func newSink(o Options, told func(error)) (sink, error) {
	rest, isSyslog := strings.CutPrefix(o.Output, "syslog")
	switch {
	case o.Output == "stdout":
		return &stdout{}, nil
	case isSyslog && rest == "":
		return &syslog{}, nil
	case isSyslog && rest[0] == ':':
		s := &syslog{}
		if path, found := strings.CutPrefix(rest, ":unix:"); found {
			s.network, s.address = "unix", path
			return s, nil
		}
		network, address, _ := strings.Cut(rest[1:], "://")
		if _, _, err := net.SplitHostPort(address); err == nil && (network == "udp" || network == "tcp") {
			s.network, s.address = network, address
			return s, nil
		}
	case strings.Contains(o.Output, "/"):
		return &file{path: o.Output, sync: o.Sync, maxSize: o.MaxSize, maxAge: o.MaxAge, keep: o.Keep, told: told}, nil
	}
	return nil, fmt.Errorf("audit: Output: %.80q (allowed: stdout, syslog, syslog:udp://host:port, syslog:tcp://host:port, syslog:unix:/path, or the path of a file with a / in it)", o.Output)
}

// countLines is how many lines end in text.
func countLines(text []byte) int { return bytes.Count(text, []byte{'\n'}) }

var errNoFile = errors.New("it is neither a file nor a device")
