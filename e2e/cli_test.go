package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// cli runs subcommands on a configuration with a folder of tenants.
type cli struct {
	*testing.T
	dir, config string
}

// newCLI writes the configuration, with further settings.
func newCLI(t *testing.T, settings string) *cli {
	t.Helper()
	dir := t.TempDir()
	c := &cli{t, dir, filepath.Join(dir, "config.yaml")}
	text := "listen: [{name: main, address: \"127.0.0.1:0\", allow: [127.0.0.1]}]\ntenants: " + dir +
		"/tenants.d\nstorage: {driver: memory}\n" + settings
	require.NoError(t, os.WriteFile(c.config, []byte(text), 0o600))
	return c
}

// run runs a command line and returns its standard output, its standard error and its status.
func (c *cli) run(stdin string, args ...string) (stdout, stderr string, status int) {
	c.Helper()
	var out, failure bytes.Buffer
	cmd := exec.CommandContext(c.Context(), binary(), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &failure
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		c.Errorf("%v: %v", args, err)
	}
	return out.String(), failure.String(), cmd.ProcessState.ExitCode()
}

// do runs a command line on the configuration, which must succeed, and returns its standard output.
func (c *cli) do(args ...string) string {
	c.Helper()
	stdout, stderr, status := c.run("", append(args, "--config", c.config)...)
	if status != 0 {
		c.Fatalf("%v: status %d\n%s%s", args, status, stdout, stderr)
	}
	return stdout
}

// file returns the path of a file in the folder of tenants.
func (c *cli) file(name string) string { return filepath.Join(c.dir, "tenants.d", name) }

// read returns the text of a file in the folder of tenants.
func (c *cli) read(name string) string {
	c.Helper()
	return servertest.ReadFile(c, c.file(name))
}

// holdsNot fails for every file that contains a secret.
func (c *cli) holdsNot(secret string) {
	c.Helper()
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			c.Errorf("%s contains a secret", path)
		}
		return err
	})
	require.NoError(c, err)
}
