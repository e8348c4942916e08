package audit

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdout is the standard output of the process.
type stdout struct {
	f    *os.File
	torn bool // the output ends within a line
}

func (s *stdout) write(lines []byte, _ time.Time) (int, error) {
	if s.f == nil {
		// A duplicate with another number: a failed write to descriptor 1 of a closed pipe would end the process with
		// SIGPIPE, instead of returning an error.
		fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return 0, os.NewSyscallError("dup", err)
		}
		s.f = os.NewFile(uintptr(fd), "stdout")
	}
	if len(lines) == 0 {
		return 0, nil
	}
	if s.torn {
		if _, err := s.f.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		s.torn = false
	}
	n, err := s.f.Write(lines)
	s.torn = n > 0 && lines[n-1] != '\n'
	return countLines(lines[:n]), err
}

func (s *stdout) reopen(time.Time) error { return nil }

func (s *stdout) close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
