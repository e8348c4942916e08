package watch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// running is a call of Run whose reports a test receives.
type running struct {
	reports chan struct{}
	ended   chan struct{}
}

func start(ctx context.Context, o Options) *running {
	w := &running{make(chan struct{}, 1), make(chan struct{})}
	go func() {
		defer close(w.ended)
		Run(ctx, o, func() {
			select {
			case w.reports <- struct{}{}:
			default: // the last report was not received yet
			}
		})
	}()
	return w
}

func (w *running) C() <-chan struct{} { return w.reports }

// reports waits until a report comes after which the file has the content.
func reports(t *testing.T, w *running, path, want string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case <-w.C():
			if got, err := os.ReadFile(path); err == nil && string(got) == want || err != nil && want == "" {
				return
			}
		case <-deadline:
			t.Fatalf("no report of %q in %s", want, path)
		}
	}
}

func options(folder string) Options {
	return Options{
		Folders: func() []string { return []string{folder} }, What: folder,
		Settle: time.Millisecond, Unsettled: 10 * time.Millisecond, Poll: time.Hour,
	}
}

// content is a fingerprint of a file.
func content(path string) func() string {
	return func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
}

// TestReports checks that a file that is written, replaced or removed is reported, by the system and by a poll alike.
func TestReports(t *testing.T) {
	for name, change := range map[string]func(*Options, string){
		"system": func(*Options, string) {},
		"poll": func(o *Options, path string) {
			o.PollOnly, o.Poll, o.Fingerprint = true, time.Millisecond, content(path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "file")
			o := options(folder)
			change(&o, path)
			w := start(t.Context(), o)
			reports(t, w, path, "") // at the start
			write(t, path, "one")
			reports(t, w, path, "one")
			write(t, path+".new", "two")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			reports(t, w, path, "two")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			reports(t, w, path, "")
		})
	}
}

// TestReplacedFolder checks that the folder that has the path now is watched, also if it was gone for a while.
func TestReplacedFolder(t *testing.T) {
	parent := t.TempDir()
	folder := filepath.Join(parent, "folder")
	path := filepath.Join(folder, "file")
	write(t, path, "one")
	o := options(folder)
	o.Poll = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	w := start(ctx, o)
	reports(t, w, path, "one")
	if err := os.Rename(folder, filepath.Join(parent, "old")); err != nil {
		t.Fatal(err)
	}
	write(t, path, "two")
	for i := 0; ; i++ { // the poll finds the new folder, and from then on the system reports its changes
		if i == 10_000 {
			t.Fatal("no change in the new folder was reported")
		}
		write(t, path, strings.Repeat("x", i))
		select {
		case <-w.C():
			cancel()
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestFolderIsBack checks that a folder that was moved away and back is watched again, without a fingerprint too.
// Changes in it meanwhile are reported.
func TestFolderIsBack(t *testing.T) {
	const poll = 20 * time.Millisecond
	for name, polled := range map[string]bool{"between two polls": false, "after some polls": true} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "folder")
			away := folder + "-away"
			path := filepath.Join(folder, "file")
			write(t, path, "one")
			o := options(folder)
			o.Poll = poll
			w := start(t.Context(), o)
			settled := func() { // waits until no report has come for some polls
				for {
					select {
					case <-w.C():
					case <-time.After(10 * poll):
						return
					}
				}
			}
			<-w.C()
			if err := os.Rename(folder, away); err != nil {
				t.Fatal(err)
			}
			if polled {
				settled()
				write(t, filepath.Join(away, "file"), "two")
			}
			if err := os.Rename(away, folder); err != nil {
				t.Fatal(err)
			}
			if polled {
				reports(t, w, path, "two")
			}
			settled()
			write(t, path, "three")
			reports(t, w, path, "three")
		})
	}
}

// TestTwoPaths checks that a folder that is watched by two paths is not reported while nothing changes.
func TestTwoPaths(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	polls := make(chan struct{})
	o.Folders = func() []string { return []string{dir, link} }
	o.Poll = time.Millisecond
	o.Fingerprint = func() string {
		select {
		case polls <- struct{}{}:
		case <-t.Context().Done():
		}
		return ""
	}
	w := start(t.Context(), o)
	for n := -5; n < 20; { // the first report is of the start
		select {
		case <-polls:
			n++
		case <-w.C():
			if n > 0 {
				t.Fatal("a change was reported although nothing has changed")
			}
		}
	}
}

// TestSettles checks that a file that is written all the time is reported, and not for every write.
func TestSettles(t *testing.T) {
	folder := t.TempDir()
	o := options(folder)
	o.Settle, o.Unsettled = time.Hour, 50*time.Millisecond
	w := start(t.Context(), o)
	<-w.C()
	stop := make(chan struct{})
	stopped := make(chan int)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				_ = os.WriteFile(filepath.Join(folder, "file"), nil, 0o600)
				time.Sleep(time.Millisecond)
			}
		}
	}()
	<-w.C()
	<-w.C()
	close(stop)
	if n := <-stopped; n < 2 {
		t.Errorf("two reports came for %d writes", n)
	}
}

// TestIgnore checks that an ignored file is not reported. A receive from Now is reported at once.
func TestIgnore(t *testing.T) {
	folder := t.TempDir()
	o := options(folder)
	now := make(chan struct{})
	o.Now = now
	o.Ignore = func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }
	ctx, cancel := context.WithCancel(t.Context())
	w := start(ctx, o)
	<-w.C()
	write(t, filepath.Join(folder, ".hidden"), "x")
	write(t, filepath.Join(folder, "file"), "x")
	<-w.C()
	now <- struct{}{}
	<-w.C()
	cancel()
	<-w.ended
}

// TestFolderMissing checks that a missing folder is logged once, and its files are found by polls.
func TestFolderMissing(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	path := filepath.Join(folder, "file")
	var logged servertest.Buffer
	o := options(folder)
	o.Poll, o.Fingerprint, o.Logger = time.Millisecond, content(path), slog.New(slog.NewTextHandler(&logged, nil))
	w := start(t.Context(), o)
	reports(t, w, path, "")
	write(t, path, "one")
	reports(t, w, path, "one")
	if n := strings.Count(logged.String(), "does not report changes"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, logged.String())
	}
}
