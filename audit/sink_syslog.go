package audit

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// syslog sends each line as a message of facility authpriv and severity info. The format is that of package
// log/syslog: BSD's for the local daemon, and with a full time and the host name for a remote one. That package has
// no deadlines.
type syslog struct {
	network, address string // udp, tcp or unix; "" for the local daemon
	conn             net.Conn
	stream           bool
	peerClosed       *atomic.Bool // the peer has closed the stream
	host             string
	msg              []byte
}

const priority = 10<<3 | 6

func (s *syslog) write(lines []byte, deadline time.Time) (int, error) {
	if s.conn != nil && s.peerClosed.Load() {
		s.hangUp()
	}
	if s.conn == nil {
		if err := s.dial(deadline); err != nil {
			return 0, err
		}
	}
	n := 0
	for line := range bytes.Lines(lines) {
		err := s.send(line, deadline)
		if err != nil && time.Now().Before(deadline) && !errors.Is(err, os.ErrDeadlineExceeded) {
			// The daemon may have been restarted.
			s.hangUp()
			if err = s.dial(deadline); err == nil {
				err = s.send(line, deadline)
			}
		}
		if err != nil {
			s.hangUp()
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *syslog) send(line []byte, deadline time.Time) error {
	m := append(s.msg[:0], '<')
	m = strconv.AppendInt(m, priority, 10)
	m = append(m, '>')
	if s.network == "udp" || s.network == "tcp" {
		m = time.Now().AppendFormat(m, time.RFC3339)
		m = append(m, ' ')
		m = append(m, s.host...)
	} else {
		m = time.Now().AppendFormat(m, time.Stamp)
	}
	m = append(m, " sessionserver["...)
	m = strconv.AppendInt(m, int64(os.Getpid()), 10)
	m = append(m, "]: "...)
	m = append(m, line...)
	if !s.stream {
		m = m[:len(m)-1] // a datagram needs no line end
	}
	s.msg = m
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := s.conn.Write(m)
	return err
}

// dial connects to the daemon.
func (s *syslog) dial(deadline time.Time) error {
	if s.host == "" {
		s.host, _ = os.Hostname()
		if s.host == "" {
			s.host = "localhost"
		}
	}
	networks, addresses := []string{s.network}, []string{s.address}
	if s.network == "" || s.network == "unix" {
		networks = []string{"unixgram", "unix"}
	}
	if s.network == "" {
		addresses = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}
	}
	d := net.Dialer{Deadline: deadline}
	var first error
	for _, address := range addresses {
		for _, network := range networks {
			conn, err := d.Dial(network, address)
			if err == nil {
				s.use(conn, network == "tcp" || network == "unix")
				return nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// use makes conn the connection. A stream is also read: the daemon sends nothing, so that the read returns when the
// daemon has closed the stream. Lines are then not lost in a connection without a reader.
func (s *syslog) use(conn net.Conn, stream bool) {
	peerClosed := new(atomic.Bool)
	s.conn, s.stream, s.peerClosed = conn, stream, peerClosed
	if stream {
		go func() {
			var buf [64]byte
			for {
				if _, err := conn.Read(buf[:]); err != nil {
					peerClosed.Store(true)
					return
				}
			}
		}()
	}
}

func (s *syslog) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *syslog) reopen(deadline time.Time) error {
	previous := s.conn
	if err := s.dial(deadline); err != nil {
		return err
	}
	if previous != nil {
		_ = previous.Close()
	}
	return nil
}

func (s *syslog) close() error {
	s.hangUp()
	return nil
}
