package certs

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/mholt/acmez/v3"
	rfc8555 "github.com/mholt/acmez/v3/acme"
)

const (
	dnsPresentTime = 2 * time.Minute
	dnsCleanUpTime = 30 * time.Second
	dnsOutput      = 2048 // bytes of the program's output in an error
)

// dnsProgram fulfils DNS-01 challenges by a program of the operator: see ACME.DNSProgram.
type dnsProgram struct{ path string }

var _ acmez.Solver = dnsProgram{}

func (p dnsProgram) Present(ctx context.Context, challenge rfc8555.Challenge) error {
	return p.run(ctx, dnsPresentTime, "present", challenge)
}

func (p dnsProgram) CleanUp(ctx context.Context, challenge rfc8555.Challenge) error {
	return p.run(ctx, dnsCleanUpTime, "cleanup", challenge)
}

func (p dnsProgram) run(ctx context.Context, limit time.Duration, verb string, challenge rfc8555.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	name := challenge.DNS01TXTRecordName() + "."
	var output tail
	cmd := exec.CommandContext(ctx, p.path, verb, name, challenge.DNS01KeyAuthorization())
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second // for a child process that keeps the output open
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("certs: %s %s %s: %w: %s", p.path, verb, name, err, bytes.TrimSpace(output))
	}
	return nil
}

// tail keeps the end of an output, where programs report errors.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b...)
	if over := len(*t) - dnsOutput; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(b), nil
}
