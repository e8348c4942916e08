package flood

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Process is a flood in a process of its own, so that it shares no scheduler with the clients that are measured.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

// Start starts the running test binary again as a flood, with the lowest priority. Its TestMain must call [Main]. The
// flood ends with the test at the latest.
func (f *Flood) Start(t testing.TB) *Process {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{cmd: exec.Command("nice", "-n", "19", os.Args[0])}
	p.cmd.Env = append(os.Environ(), environment+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// Tally returns the results until now.
func (p *Process) Tally(t testing.TB) (tally Tally) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, "\n"); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	if err := p.out.Decode(&tally); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	return tally
}

// Stop ends the flood and returns all its results.
func (p *Process) Stop(t testing.TB) (tally Tally) {
	t.Helper()
	_ = p.stdin.Close()
	if err := errors.Join(p.out.Decode(&tally), p.cmd.Wait()); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	return tally
}
