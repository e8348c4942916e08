package audit

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of events in docs/audit.md")

// TestDocs checks that docs/audit.md has all events, all fields in their order, and examples that are valid lines.
func TestDocs(t *testing.T) {
	const path = "../docs/audit.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, c := range Codes() {
		fmt.Fprintf(&table, "| `%s` | %s |\n", c, c.Meaning())
	}
	const head = "| code | what has happened |\n|---|---|\n"
	before, after, found := strings.Cut(string(doc), head)
	_, after, more := strings.Cut(after, "\n## ")
	if !found || !more {
		t.Fatal("docs/audit.md has no table of events")
	}
	want := before + head + table.String() + "\n## " + after
	if want != string(doc) && *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(doc) {
		t.Error("the table of events is outdated; rewrite it with: go test ./audit -run Docs -update")
	}

	_, fields, _ := strings.Cut(string(doc), "| field | |\n")
	fields, _, _ = strings.Cut(fields, "\n\n")
	at := 0
	for f := range reflect.TypeFor[line]().Fields() {
		name := f.Tag.Get("json")
		if name == "access" { // fields of decisions follow
			break
		}
		i := strings.Index(fields[at:], "`"+name+"`")
		if i < 0 {
			t.Errorf("field %s is missing or out of order", name)
			continue
		}
		at += i
	}
	for i, part := range strings.Split(string(doc), "```json\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		for part := range bytes.Lines([]byte(text)) {
			l := readLines(t, part)[0]
			c, known := ParseCode(l.Event)
			again := appendEvent(nil, &Event{Code: c, Time: l.Time}, l.Seq, l.Time)
			if !known || !bytes.HasPrefix(part, again[:len(again)-2]) {
				t.Errorf("example %d does not begin like a line of the log: %s", i, part)
			}
		}
	}
	for _, number := range []string{fmt.Sprintf("writing takes more than %v s", Timeout.Seconds()),
		fmt.Sprintf("after %v s, and at the latest every %v s", retryMin.Seconds(), retryMax.Seconds()),
		"at most 1,024 bytes"} {
		if !strings.Contains(string(doc), number) {
			t.Errorf("docs/audit.md does not contain: %s", number)
		}
	}
}
