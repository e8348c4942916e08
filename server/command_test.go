package server

import (
	"fmt"
	"strings"
	"testing"

	"sessionserver/session"
	"sessionserver/wire"
)

// whole returns a complete row.
func whole() Command {
	return Command{
		Name: "own", Usage: "key", Help: "does what it does", Line: Exactly(1), RESP: Arity{1, Many},
		Needs: OpenSession, Access: Read, Cost: 1, Payload: ValuePayload, Run: func(*Call) error { return nil },
	}
}

// newWith returns a server with these commands, and the value of its panic.
func newWith(t *testing.T, rows ...Command) (s *Server, panicked string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			panicked = fmt.Sprint(p)
		}
	}()
	s, err := New(Options{
		Policy: permissive{}, Sessions: session.NewManager(nil, session.Options{}), Commands: rows,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, ""
}

// TestRowsAreChecked checks that New panics for an incomplete row or a duplicate name.
func TestRowsAreChecked(t *testing.T) {
	if _, panicked := newWith(t, whole()); panicked != "" {
		t.Fatalf("a complete row panics: %s", panicked)
	}
	for name, row := range map[string]struct {
		spoil func(*Command)
		want  string
	}{
		"no name":           {func(c *Command) { c.Name = "" }, "a name is 1 to 32 of"},
		"upper case":        {func(c *Command) { c.Name = "Own" }, "a name is 1 to 32 of"},
		"name with a space": {func(c *Command) { c.Name = "my own" }, "a name is 1 to 32 of"},
		"name with a dash":  {func(c *Command) { c.Name = "my-own" }, "a name is 1 to 32 of"},
		"name like RESP":    {func(c *Command) { c.Name = "*1" }, "a name is 1 to 32 of"},
		"long name":         {func(c *Command) { c.Name = strings.Repeat("x", 33) }, "a name is 1 to 32 of"},
		"no help":           {func(c *Command) { c.Help = "" }, "Help is missing"},
		"no usage":          {func(c *Command) { c.Usage = "" }, "Usage must name"},
		"usage of nothing": {func(c *Command) { c.Line, c.RESP, c.Payload = Exactly(0), Exactly(0), NoPayload },
			"Usage must name"},
		"Min above Max":      {func(c *Command) { c.Line = Arity{2, 1} }, "Line and RESP must have Min"},
		"Min above Max, too": {func(c *Command) { c.RESP = Arity{2, 1} }, "Line and RESP must have Min"},
		"negative":           {func(c *Command) { c.RESP = Arity{-1, 1} }, "Line and RESP must have Min"},
		"no needs":           {func(c *Command) { c.Needs = 0 }, "Needs is missing"},
		"unknown needs":      {func(c *Command) { c.Needs = OpenSession + 1 }, "unknown value"},
		"no access":          {func(c *Command) { c.Access = 0 }, "Access is missing"},
		"unknown access":     {func(c *Command) { c.Access = Write + 1 }, "unknown value"},
		"no cost":            {func(c *Command) { c.Cost = 0 }, "Cost must be 1 to 8"},
		"negative cost":      {func(c *Command) { c.Cost = -1 }, "Cost must be 1 to 8"},
		"payload of nothing": {func(c *Command) { c.Line = Exactly(0) }, "Payload is for a command with arguments"},
		"unknown payload":    {func(c *Command) { c.Payload = SessionPayload + 1 }, "unknown value"},
		"no handler":         {func(c *Command) { c.Run = nil }, "Run is missing"},
		"name of a built-in": {func(c *Command) { c.Name = "get" }, "duplicate name"},
	} {
		spoilt := whole()
		row.spoil(&spoilt)
		_, panicked := newWith(t, spoilt)
		if !strings.HasPrefix(panicked, fmt.Sprintf("server: command %q: ", spoilt.Name)) ||
			!strings.Contains(panicked, row.want) {
			t.Errorf("%s: %q, want %q", name, panicked, row.want)
		}
	}
	if _, panicked := newWith(t, whole(), whole()); panicked != `server: command "own": duplicate name` {
		t.Errorf("duplicate row: %q", panicked)
	}
}

// TestServersDoNotShareRows checks that a command of one server does not exist in another.
func TestServersDoNotShareRows(t *testing.T) {
	rows := []Command{whole()}
	with, _ := newWith(t, rows...)
	without, _ := newWith(t)
	rows[0].Run = nil
	if cmd := with.table.lookup([]byte("own")); cmd == nil || cmd.Run == nil {
		t.Errorf("the row shares memory with the caller: %+v", cmd)
	}
	if without.table.lookup([]byte("own")) != nil {
		t.Error("another server has the command too")
	}
}

func TestLookup(t *testing.T) {
	table := builtin()
	for _, row := range table.rows {
		for _, name := range []string{row.Name, strings.ToUpper(row.Name),
			strings.ToUpper(row.Name[:1]) + row.Name[1:]} {
			if table.lookup([]byte(name)) != row {
				t.Errorf("lookup of %s as %s fails", row.Name, name)
			}
		}
	}
	for _, name := range []string{"", "ge", "gett", "get ", " get", "get\x00", "GET\n", "regenerate-id", "ｇｅｔ",
		"K\u212aEYS", "\u212aEYS", "pıng", strings.Repeat("get", 1000)} {
		if cmd := table.lookup([]byte(name)); cmd != nil {
			t.Errorf("lookup of %q returns %s", name, cmd.Name)
		}
	}
	for _, name := range []string{"get", "REGENERATE_ID", "unknown", strings.Repeat("x", 40)} {
		b := []byte(name)
		if n := testing.AllocsPerRun(100, func() { table.lookup(b) }); n > 0 {
			t.Errorf("lookup of %s: %v allocations", name, n)
		}
	}
}

// TestPayload checks that only the line of a command with a payload may be longer.
func TestPayload(t *testing.T) {
	limits := wire.Limits{Line: 1, Value: 2, Request: 3, Args: 4}
	payload := builtin().payload(limits)
	for name, want := range map[string]int{"put": 2, "PUT": 2, "put_all": 3, "get": 0, "open": 0, "unknown": 0, "": 0} {
		if got := payload([]byte(name)); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}
