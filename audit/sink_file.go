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

// file is a log file with rotation by size and age. It detects that another program has renamed or removed the file.
// Package lumberjack does not suit: it leaves part of a line when the disk is full, truncates a file that it cannot
// open, and does not detect a rename.
type file struct {
	path    string
	sync    bool
	maxSize int64
	maxAge  time.Duration
	keep    int
	report  func(error) // receives errors of operations other than writes

	f       *os.File
	regular bool // false for a device such as /dev/console, from which no bytes can be removed
	size    int64
	created time.Time // time of the first line
	checked time.Time // time of the last check of the name
	torn    bool      // the file ends within a line
	retryAt time.Time // no rotation before, after a failed one
	rotated time.Time // in the name of the last rotated file
}

const (
	checkInterval = time.Second
	rotationRetry = time.Minute
	rotatedSuffix = "20060102T150405.000Z" // UTC; follows the name of a rotated file
)

func (s *file) write(lines []byte, _ time.Time) (int, error) {
	now := time.Now()
	if s.f == nil {
		if err := s.open(now); err != nil {
			return 0, err
		}
	} else if now.Sub(s.checked) >= checkInterval || now.Before(s.checked) {
		s.checkName(now)
	}
	if len(lines) == 0 {
		return 0, nil
	}
	if s.due(int64(len(lines)), now) && !now.Before(s.retryAt) {
		if err := s.rotate(now); err != nil {
			s.retryAt = now.Add(rotationRetry)
			s.report(fmt.Errorf("the file was not rotated: %w", err))
		}
	}
	if s.size == 0 {
		s.created = now
	}
	if err := s.append(lines); err != nil {
		// The next write opens the name again, which may refer to another file by then.
		_ = s.f.Close()
		s.f = nil
		return 0, err
	}
	return countLines(lines), nil
}

// append writes all lines, or none if possible.
func (s *file) append(lines []byte) error {
	if s.torn {
		if _, err := s.f.Write([]byte{'\n'}); err != nil {
			return err
		}
		s.torn, s.size = false, s.size+1
	}
	n, err := s.f.Write(lines)
	if err != nil {
		if n > 0 && !s.truncate(int64(n)) {
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

// truncate removes the last n bytes and reports whether it succeeded.
func (s *file) truncate(n int64) bool {
	info, err := s.f.Stat()
	return err == nil && s.regular && info.Size() >= n && s.f.Truncate(info.Size()-n) == nil
}

// open opens the file under the name, and closes the present file.
func (s *file) open(now time.Time) error {
	// Opening a pipe without a reader would block the process.
	if info, err := os.Stat(s.path); err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		return &fs.PathError{Op: "open", Path: s.path, Err: errNotFile}
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
			s.report(err)
		}
	}
	s.f, s.checked = f, now
	s.regular = info.Mode().IsRegular()
	if s.regular {
		s.size, s.torn = info.Size(), false
		s.created = firstTime(f, info)
		var last [1]byte
		if n, _ := f.ReadAt(last[:], s.size-1); s.size > 0 && n == 1 {
			s.torn = last[0] != '\n'
		}
	}
	return nil
}

// firstTime returns the time of the first line of a file, or the time of its last change if that line has none.
func firstTime(f *os.File, info fs.FileInfo) time.Time {
	const prefix = `{"time":"`
	buf := make([]byte, len(prefix)+len(timeFormat))
	n, err := f.ReadAt(buf, 0)
	if text, found := bytes.CutPrefix(buf[:n], []byte(prefix)); found && (err == nil || err == io.EOF) {
		if t, err := time.Parse(timeFormat, string(text)); err == nil {
			return t
		}
	}
	return info.ModTime()
}

// checkName opens the file again if its name refers to another file, or to none.
func (s *file) checkName(now time.Time) {
	s.checked = now
	if !s.regular {
		return
	}
	if info, current := s.isCurrent(); !current {
		if err := s.open(now); err != nil {
			s.report(fmt.Errorf("the file was renamed and is still written; its name cannot be opened: %w", err))
		}
	} else {
		s.size = info.Size() // another program may have truncated it
	}
}

// isCurrent reports whether the name refers to the open file.
func (s *file) isCurrent() (fs.FileInfo, bool) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, false
	}
	open, err := s.f.Stat()
	return info, err == nil && os.SameFile(info, open)
}

// due reports whether the file must be rotated before that many bytes are written.
func (s *file) due(more int64, now time.Time) bool {
	tooLarge := s.maxSize > 0 && s.size+more > s.maxSize
	tooOld := s.maxAge > 0 && now.Sub(s.created) >= s.maxAge
	return s.regular && s.size > 0 && (tooLarge || tooOld)
}

// rotate renames the file and opens a new one. If it fails the present file remains in use.
func (s *file) rotate(now time.Time) error {
	if _, current := s.isCurrent(); !current {
		return s.open(now)
	}
	at, old := now, ""
	// The names are in order even if the clock is set back.
	if next := s.rotated.Add(time.Millisecond); at.Before(next) {
		at = next
	}
	for ; ; at = at.Add(time.Millisecond) {
		old = s.path + "." + at.UTC().Format(rotatedSuffix)
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
		s.report(fmt.Errorf("old files were not removed: %w", err))
	}
	return nil
}

// prune removes the oldest rotated files, except the number to keep.
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
		if _, err := time.Parse(rotatedSuffix, at); found && err == nil && e.Type().IsRegular() {
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
		if _, current := s.isCurrent(); current {
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
