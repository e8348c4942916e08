package e2e

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"testing"

	"sessionserver/server/servertest"
)

// newCLI returns command lines of the binary on a new configuration with further settings.
func newCLI(t *testing.T, settings string) *servertest.CLI {
	t.Helper()
	run := func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
		cmd := exec.CommandContext(ctx, binary(), args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Errorf("%v: %v", args, err)
		}
		return cmd.ProcessState.ExitCode()
	}
	return servertest.NewCLI(t, run, settings)
}
