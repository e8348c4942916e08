package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/session"
	"sessionserver/wire"
)

// permissive is a policy that allows everything.
type permissive struct{}

func (permissive) Decide(context.Context, *policy.Input) (policy.Decision, error) {
	return policy.Decision{Allow: true}, nil
}

// testConn returns a connection that is not served, and its log.
func testConn(t *testing.T) (*conn, *bytes.Buffer) {
	t.Helper()
	var logged bytes.Buffer
	s, err := New(Options{
		Sessions: session.NewManager(nil, session.Options{}),
		Policy:   permissive{},
		Tenants: []Tenant{{
			Tenant:   auth.Tenant{Name: "test", Apps: []auth.App{{Name: "app", Role: auth.ReadWrite}}},
			Sessions: session.DefaultSettings(),
		}},
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return s.newConn(ours, &Listen{Name: "test"}), &logged
}

// exportedErrors returns the names of the error variables that a package exports.
func exportedErrors(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, spec := range vars.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s exports no errors", folder)
	}
	return names
}

// TestEveryErrorHasACode checks that every error of the packages behind the gates has a code for clients.
func TestEveryErrorHasACode(t *testing.T) {
	type known struct {
		err  error
		code wire.Code
	}
	for folder, table := range map[string]map[string]known{
		"../session": {
			"ErrNotFound":    {session.ErrNotFound, wire.NotFound},
			"ErrNoKey":       {session.ErrNoKey, wire.NoKey},
			"ErrReadOnly":    {session.ErrReadOnly, wire.ReadOnly},
			"ErrLockTimeout": {session.ErrLockTimeout, wire.LockTimeout},
			"ErrLockLost":    {session.ErrLockLost, wire.LockLost},
			"ErrClosed":      {session.ErrClosed, wire.NoSession},
			"ErrBadID":       {session.ErrBadID, wire.BadID},
			"ErrBadKey":      {session.ErrBadKey, wire.BadKey},
			"ErrBadMode":     {session.ErrBadMode, wire.BadArg},
			"ErrBadDuration": {session.ErrBadDuration, wire.BadArg},
			"ErrTooLarge":    {session.ErrTooLarge, wire.TooLarge},
			"ErrQuota":       {session.ErrQuota, wire.Quota},
			"ErrStore":       {session.ErrStore, wire.Unavailable},
		},
		"../auth": {
			"ErrBadCredentials": {auth.ErrBadCredentials, wire.BadAuth},
		},
	} {
		names := exportedErrors(t, folder)
		for _, name := range names {
			row, found := table[name]
			if !found {
				t.Errorf("%s of %s has no code", name, folder)
				continue
			}
			for _, err := range []error{row.err, fmt.Errorf("operation: %w: detail", row.err)} {
				c, logged := testConn(t)
				refused := c.refusalOf("get", err).reply
				if refused.Code != row.code || refused.Fatal {
					t.Errorf("%s (%v) becomes %v", name, err, refused)
				}
				if verbatim := row.code != wire.Unavailable &&
					row.code != wire.BadAuth; verbatim != (refused.Message == err.Error()) {
					t.Errorf("%s: the reply is %q for %q", name, refused.Message, err)
				}
				if (logged.Len() > 0) != (row.code == wire.Unavailable) {
					t.Errorf("%s: logged %q", name, logged)
				}
			}
		}
		if len(names) != len(table) {
			t.Errorf("%s exports %v, the table has %d", folder, names, len(table))
		}
	}
}

// TestRefusalIsTaken checks that a wrapped refusal reaches the client unchanged.
func TestRefusalIsTaken(t *testing.T) {
	c, logged := testConn(t)
	want := wire.Errorf(wire.Quota, "the tenant is full")
	if got := c.refusalOf("put", fmt.Errorf("put: %w: %w", want, session.ErrStore)).reply; got != want {
		t.Errorf("the reply is %v", got)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %q", logged)
	}
}

// TestTruthIsForTheLog checks that the reply to an unknown error, or to one of the store, contains only an id. The
// log has the details under that id.
func TestTruthIsForTheLog(t *testing.T) {
	const secret = "/var/lib/secret: input/output error"
	for name, row := range map[string]struct {
		err  error
		code wire.Code
	}{
		"unknown": {errors.New(secret), wire.Internal},
		"store":   {fmt.Errorf("%w: save: %w", session.ErrStore, errors.New(secret)), wire.Unavailable},
		"store, cancelled": {fmt.Errorf("%w: save: %s: %w", session.ErrStore, secret, context.Canceled),
			wire.Unavailable},
		"cancelled":   {fmt.Errorf("%s: %w", secret, context.Canceled), wire.Internal},
		"out of time": {fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), wire.Internal},
		"a panic":     {&panicked{secret, []byte("goroutine 1")}, wire.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			c, logged := testConn(t)
			refused := c.refusalOf("commit", row.err).reply
			if refused.Code != row.code || strings.Contains(refused.Message, "secret") {
				t.Errorf("the reply is %v", refused)
			}
			id := regexp.MustCompile(`the server's log has it as ([0-9a-f]{8})$`).FindStringSubmatch(refused.Message)
			if id == nil {
				t.Fatalf("no id in %q", refused.Message)
			}
			for _, want := range []string{secret, "error_id=" + id[1], "command=commit", "code=" + string(row.code),
				"level=ERROR", "conn=1"} {
				if !strings.Contains(logged.String(), want) {
					t.Errorf("log without %q: %s", want, logged)
				}
			}
			if again := c.refusalOf("commit", row.err).reply; again.Message == refused.Message {
				t.Errorf("duplicate id: %v", again)
			}
		})
	}
}

// TestCancelledByShutdown checks that a command that a shutdown cancels is refused with SHUTDOWN, and is not logged
// as a fault.
func TestCancelledByShutdown(t *testing.T) {
	c, logged := testConn(t)
	c.server.kill(errShutdown)
	if got := c.refusalOf("open", fmt.Errorf("open: %w", context.Canceled)); got != errShutdown {
		t.Errorf("the reply is %v", got)
	}
	if got := c.refusalOf("open", fmt.Errorf("open: %w", context.Cause(c.server.ctx))); got != errShutdown {
		t.Errorf("the reply for the cause is %v", got)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %q", logged)
	}
}

// TestCodeRules checks that every code has a row, and that errors that a correct client does not cause reduce the
// error budget.
func TestCodeRules(t *testing.T) {
	want := map[wire.Code]bool{
		wire.NoAuth: true, wire.BadAuth: true, wire.BadID: true, wire.BadKey: true, wire.BadArg: true,
		wire.TooLarge: true, wire.Unknown: true, wire.Protocol: true,
		wire.RateLimited: true, wire.NoSession: true, wire.Busy: true,
	}
	for _, code := range wire.Codes {
		rule, found := codeRules[code]
		if !found || rule.budget != want[code] {
			t.Errorf("%s: budget %v, found %v", code, rule.budget, found)
		}
		if rule.gate != "" && !slices.Contains(Gates(), rule.gate) {
			t.Errorf("%s: unknown gate %q", code, rule.gate)
		}
	}
}
