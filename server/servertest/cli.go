package servertest

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest/require"
)

// Command runs a command line of the program and returns its status.
type Command func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int)

// CLI runs command lines on a configuration with a folder of tenants.
type CLI struct {
	testing.TB
	Dir    string // of all files
	Config string // the path of the configuration

	command Command
}

// NewCLI writes a configuration with further settings. The folder of tenants does not exist yet.
func NewCLI(t testing.TB, command Command, settings string) *CLI {
	t.Helper()
	dir := t.TempDir()
	text := "listen: [{name: main, address: \"127.0.0.1:0\", allow: [127.0.0.1]}]\n" +
		"tenants: " + dir + "/tenants.d\nstorage: {driver: memory}\n"
	WriteFiles(t, dir, map[string]string{"config.yaml": text + settings})
	return &CLI{t, dir, filepath.Join(dir, "config.yaml"), command}
}

// Run runs a command line and returns its standard output, its standard error and its status.
func (c *CLI) Run(stdin string, args ...string) (stdout, stderr string, status int) {
	c.Helper()
	var out, failure bytes.Buffer
	status = c.command(c.Context(), args, strings.NewReader(stdin), &out, &failure)
	return out.String(), failure.String(), status
}

// Do runs a command line on the configuration, which must succeed, and returns its standard output.
func (c *CLI) Do(args ...string) string {
	c.Helper()
	stdout, stderr, status := c.Run("", append(args, "--config", c.Config)...)
	if status != 0 {
		c.Fatalf("%v: status %d\n%s%s", args, status, stdout, stderr)
	}
	return stdout
}

// Fails runs a command line on the configuration, which must fail with an error that contains a text.
func (c *CLI) Fails(text string, args ...string) {
	c.Helper()
	stdout, stderr, status := c.Run("", append(args, "--config", c.Config)...)
	if status == 0 || !strings.Contains(stderr, text) {
		c.Errorf("%v: status %d, want %q\n%s%s", args, status, text, stdout, stderr)
	}
}

// File returns the path of a file in the folder of tenants.
func (c *CLI) File(name string) string { return filepath.Join(c.Dir, "tenants.d", name) }

// Read returns the text of a file in the folder of tenants.
func (c *CLI) Read(name string) string {
	c.Helper()
	return ReadFile(c, c.File(name))
}

// HoldsNot fails for every file that contains a secret.
func (c *CLI) HoldsNot(secret string) {
	c.Helper()
	err := filepath.WalkDir(c.Dir, func(path string, d os.DirEntry, err error) error {
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
