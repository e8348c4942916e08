package audit

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// sink is the destination of lines. One goroutine uses it. A method may hang: the queue detects it, but cannot end
// it.
type sink interface {
	// write opens the destination if it is not open, and appends whole lines. It returns the number of lines written.
	// After an error no other line may be there in part, as far as possible. It should return by the deadline.
	write(lines []byte, deadline time.Time) (int, error)
	// reopen opens the destination under its name again. If it fails the present one remains open.
	reopen(deadline time.Time) error
	close() error
}

// newSink returns the sink of an output, without opening it. It passes errors of operations other than writes to
// report.
func newSink(o Options, report func(error)) (sink, error) {
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
		return &file{
			path: o.Output, sync: o.Sync, maxSize: o.MaxSize, maxAge: o.MaxAge, keep: o.Keep, report: report,
		}, nil
	}
	return nil, fmt.Errorf("audit: Output: %.80q (allowed: stdout, syslog, syslog:udp://host:port, "+
		"syslog:tcp://host:port, syslog:unix:/path, or the path of a file with a / in it)", o.Output)
}

// countLines returns the number of whole lines in text.
func countLines(text []byte) int { return bytes.Count(text, []byte{'\n'}) }

var errNotFile = errors.New("neither a file nor a device")
