package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a file that is closed and given another name when it is too large or too old. What somebody else renames or removes is noticed. We have looked
// at lumberjack for it: there half a line stays when the disk is full, a file that cannot be opened is emptied, and nobody notices a rename.
type file struct {
	path    string
	sync    bool
	maxSize int64
	maxAge  time.Duration
	keep    int
	told    func(error)

	f       *os.File
	regular bool // as opposed to a device such as /dev/console, of which nothing can be taken back
	size    int64
	born    time.Time // when its first line was written
	looked  time.Time // when it was last looked at what its name stands for
	torn    bool      // it ends within a line
	later   time.Time // no rotation before: the last one did not work
	rotated time.Time // in the name of the file that was renamed last
}

const (
	lookEvery   = time.Second
	rotateAgain = time.Minute
	rotatedName = "20060102T150405.000Z" // what comes after the name of an old file, in UTC
)

func (s *file) write(lines []byte, _ time.Time) (int, error) {
	now := time.Now()
	if s.f == nil {
		if err := s.open(now); err != nil {
			return 0, err
		}
	} else if now.Sub(s.looked) >= lookEvery || now.Before(s.looked) {
		s.look(now)
	}
	if len(lines) == 0 {
		return 0, nil
	}
	if s.due(int64(len(lines)), now) && !now.Before(s.later) {
		if err := s.rotate(now); err != nil {
			s.later = now.Add(rotateAgain)
			s.told(fmt.Errorf("the file was not rotated: %w", err))
		}
	}
	if s.size == 0 {
		s.born = now
	}
	if err := s.append(lines); err != nil {
		// Opened anew by the next one: the name may stand for something better then.
		_ = s.f.Close()
		s.f = nil
		return 0, err
	}
	return countLines(lines), nil
}

// append writes all of the lines, or none if it can be helped.
func (s *file) append(lines []byte) error {
	if s.torn {
		if _, err := s.f.Write([]byte{'\n'}); err != nil {
			return err
		}
		s.torn, s.size = false, s.size+1
	}
	n, err := s.f.Write(lines)
	if err != nil {
		if n > 0 && !s.takeBack(int64(n)) {
			s.torn = lines[n-1] != '\n'
		}
		return err
	}
	s.size += int64(n)
	if s.sync && s.regular {
		return s.f.Sync()
	}
	return nil
}

// takeBack removes the last n bytes.
func (s *file) takeBack(n int64) bool {
	info, err := s.f.Stat()
	return err == nil && s.regular && info.Size() >= n && s.f.Truncate(info.Size()-n) == nil
}

// open opens what has the name now. What was open is closed.
func (s *file) open(now time.Time) error {
	// A pipe that nobody reads would keep the process waiting.
	if info, err := os.Stat(s.path); err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		return &fs.PathError{Op: "open", Path: s.path, Err: errNoFile}
	}
	_, err := os.Lstat(s.path)
	isNew := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && isNew && s.sync {
		err = syncFolder(s.path)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	if s.f != nil {
		if err := s.f.Close(); err != nil {
			s.told(err)
		}
	}
	s.f, s.looked = f, now
	s.regular = info.Mode().IsRegular()
	if s.regular {
		s.size, s.torn = info.Size(), false
		s.born = firstTime(f, info)
		var last [1]byte
		if n, _ := f.ReadAt(last[:], s.size-1); s.size > 0 && n == 1 {
			s.torn = last[0] != '\n'
		}
	}
	return nil
}

// firstTime is when the first line of a file was written, or the file was last if that line does not say.
func firstTime(f *os.File, info fs.FileInfo) time.Time {
	const before = `{"time":"`
	buf := make([]byte, len(before)+len(timeFormat))
	n, err := f.ReadAt(buf, 0)
	if text, found := bytes.CutPrefix(buf[:n], []byte(before)); found && (err == nil || err == io.EOF) {
		if t, err := time.Parse(timeFormat, string(text)); err == nil {
			return t
		}
	}
	return info.ModTime()
}

// look opens the file anew if its name stands for another one by now, or for none.
func (s *file) look(now time.Time) {
	s.looked = now
	if !s.regular {
		return
	}
	if info, mine := s.isMine(); !mine {
		if err := s.open(now); err != nil {
			s.told(fmt.Errorf("the file has another name now, and goes on there: %w", err))
		}
	} else {
		s.size = info.Size() // somebody may have emptied it
	}
}

// isMine reports whether the name stands for the file that is open.
func (s *file) isMine() (fs.FileInfo, bool) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, false
	}
	open, err := s.f.Stat()
	return info, err == nil && os.SameFile(info, open)
}

func (s *file) due(more int64, now time.Time) bool {
	return s.regular && s.size > 0 && (s.maxSize > 0 && s.size+more > s.maxSize || s.maxAge > 0 && now.Sub(s.born) >= s.maxAge)
}

// rotate gives the file another name and begins a new one. If that fails the old one goes on.
func (s *file) rotate(now time.Time) error {
	if _, mine := s.isMine(); !mine {
		return s.open(now)
	}
	at, old := now, ""
	if next := s.rotated.Add(time.Millisecond); at.Before(next) { // the names are in order, whatever the clock does
		at = next
	}
	for ; ; at = at.Add(time.Millisecond) {
		old = s.path + "." + at.UTC().Format(rotatedName)
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
	}
	if err := os.Rename(s.path, old); err != nil {
		return err
	}
	s.rotated = at
	if err := s.open(now); err != nil {
		if _, lstatErr := os.Lstat(s.path); errors.Is(lstatErr, fs.ErrNotExist) {
			err = errors.Join(err, os.Rename(old, s.path))
		}
		return err
	}
	if err := s.prune(); err != nil {
		s.told(fmt.Errorf("old files were not removed: %w", err))
	}
	return nil
}

// prune removes the oldest files of those that rotate has renamed, beyond those that are kept.
func (s *file) prune() error {
	if s.keep == 0 {
		return nil
	}
	folder, name := filepath.Split(s.path)
	entries, err := os.ReadDir(filepath.Clean(folder))
	if err != nil {
		return err
	}
	var old []string
	for _, e := range entries {
		at, found := strings.CutPrefix(e.Name(), name+".")
		if _, err := time.Parse(rotatedName, at); found && err == nil && e.Type().IsRegular() {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old) // by time
	var errs []error
	for len(old) > s.keep {
		errs = append(errs, os.Remove(filepath.Join(folder, old[0])))
		old = old[1:]
	}
	return errors.Join(errs...)
}

func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *file) reopen(time.Time) error {
	now := time.Now()
	if s.f != nil && s.regular {
		if _, mine := s.isMine(); mine {
			return nil
		}
	}
	return s.open(now)
}

func (s *file) close() error {
	if s.f == nil {
		return nil
	}
	f := s.f
	s.f = nil
	return f.Close()
}
