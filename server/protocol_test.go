package server

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"sessionserver/wire"
)

const protocolFile = "../wire/PROTOCOL.md"

// commandTable returns the command table in the format of the specification.
func commandTable() string {
	var b strings.Builder
	b.WriteString("| command | needs | access | does |\n|---|---|---|---|\n")
	for _, row := range builtin().rows {
		usage := strings.ReplaceAll(row.usage(), "|", `\|`)
		help := strings.ReplaceAll(row.Help, "|", `\|`)
		access := row.Access.String()
		if row.AccessOf != nil {
			access = "read or write"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", usage, row.Needs, access, help)
	}
	return b.String()
}

// TestProtocolCommands compares the command table of the specification with the code. Each command must be in a
// conversation.
func TestProtocolCommands(t *testing.T) {
	const begin, end = "<!-- commands: written by go test ./server -run ProtocolCommands -update -->\n",
		"<!-- /commands -->"
	data, err := os.ReadFile(protocolFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), begin)
	shown, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		t.Fatalf("%s: no marks of the command table", protocolFile)
	}
	if shown != commandTable() {
		if flag.Lookup("update").Value.String() != "true" {
			t.Fatalf("%s: the command table differs from the code; run go test ./server -run ProtocolCommands "+
				"-update\n"+
				"the table of the code:\n%s", protocolFile, commandTable())
		}
		if err := os.WriteFile(protocolFile, []byte(before+begin+commandTable()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	played := map[string]bool{}
	for _, line := range strings.Split(string(data), "\n") {
		if _, what, found := strings.Cut(line, ": "); found && strings.HasPrefix(line, "C") {
			name, _, _ := strings.Cut(what, " ")
			played[strings.ToLower(name)] = true
		}
	}
	for _, row := range builtin().rows {
		if !played[row.Name] {
			t.Errorf("%s: no conversation with %s", protocolFile, row.Name)
		}
	}
}

// TestProtocolCodes compares the table of errors in the specification with the code.
func TestProtocolCodes(t *testing.T) {
	data, err := os.ReadFile(protocolFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range wire.Codes {
		if !strings.Contains(string(data), fmt.Sprintf("\n| `%s` | ", code)) {
			t.Errorf("%s: the table of errors lacks %s", protocolFile, code)
		}
	}
}
