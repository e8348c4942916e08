package transcript

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParse(t *testing.T) {
	parsed, err := Parse("t", strings.NewReader("# a comment\n\n  # another\n"+
		"C: put foo  bar \nS: ok\nC bob9: x\nS bob9:\n"+
		"connect carol resp3\nconnect dave resp2\r\nhangup bob9\nC:\nS: (closed)"))
	if err != nil {
		t.Fatal(err)
	}
	want := []line{
		{1, "# a comment", remark, "", ""},
		{2, "", remark, "", ""},
		{3, "  # another", remark, "", ""},
		{4, "C: put foo  bar ", client, "", "put foo  bar "},
		{5, "S: ok", server, "", "ok"},
		{6, "C bob9: x", client, "bob9", "x"},
		{7, "S bob9:", server, "bob9", ""},
		{8, "connect carol resp3", connect, "carol", "resp3"},
		{9, "connect dave resp2", connect, "dave", "resp2"},
		{10, "hangup bob9", hangup, "bob9", ""},
		{11, "C:", client, "", ""},
		{12, "S: (closed)", server, "", "(closed)"},
	}
	if len(parsed.lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(parsed.lines), len(want))
	}
	for i := range want {
		if parsed.lines[i] != want[i] {
			t.Errorf("line %d: %+v, want %+v", i+1, parsed.lines[i], want[i])
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, wrong := range []string{
		"put foo bar", "c: put", "C put foo", "C:put", "S:ok", " C: put", "C  bob: x", "C Bob: x", "C 9: x",
		"C a-b: x", "X: y", "Client: x",
		"connect bob", "connect bob resp4", "connect resp3", "connect bob resp3 now", " connect bob resp3",
		"Connect bob resp3",
		"hangup", "hangup Bob", "hangup bob now", "// comment", "\ufeffC: x",
	} {
		_, err := Parse("dir/t.txt", strings.NewReader("# one\nC: ping\n"+wrong+"\nnonsense\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "dir/t.txt:3: not a line of a transcript (allowed: C: …, ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	broken := errors.New("broken")
	if _, err := Parse("t", iotest.ErrReader(broken)); !errors.Is(err, broken) ||
		!strings.HasPrefix(err.Error(), "t: ") {
		t.Errorf("a reader that fails: %v", err)
	}
	if _, err := Parse("t", strings.NewReader("C: "+strings.Repeat("x", 17<<20))); err == nil {
		t.Error("Parse of a line of 17 MiB: no error")
	}
}

func TestMatch(t *testing.T) {
	for name, row := range map[string]struct {
		known         names
		expected, got string
		want          bool
		learned       names // names that are new
	}{
		"the same":                {nil, "ok bar", "ok bar", true, nil},
		"another":                 {nil, "ok bar", "ok baz", false, nil},
		"longer":                  {nil, "ok", "ok bar", false, nil},
		"shorter":                 {nil, "ok bar", "ok", false, nil},
		"space at the end":        {nil, "ok ", "ok", false, nil},
		"not a pattern":           {nil, "ok .* [a] (b", "ok .* [a] (b", true, nil},
		"not a pattern either":    {nil, "ok .*", "ok bar", false, nil},
		"first use":               {nil, "ok {id}", "ok 0123", true, names{"id": "0123"}},
		"a word only":             {nil, "ok {id}", "ok 01 23", false, nil},
		"no empty word":           {nil, "ok {id}", "ok ", false, nil},
		"in quotes":               {nil, `"{id}"`, `"0123"`, true, names{"id": "0123"}},
		"in the middle":           {nil, "a={x} b={y}!", "a=1 b=2!", true, names{"x": "1", "y": "2"}},
		"known":                   {names{"id": "0123"}, "ok {id}", "ok 0123", true, nil},
		"known, another":          {names{"id": "0123"}, "ok {id}", "ok 4567", false, nil},
		"twice at once":           {nil, "{a} {a}", "x x", true, names{"a": "x"}},
		"twice, differing":        {nil, "{a} {a}", "x y", false, nil},
		"no name is stored":       {nil, "{a} end", "x fin", false, nil},
		"any":                     {nil, "err CODE {...}", "err CODE what to do", true, nil},
		"any of nothing":          {nil, "ok{...}", "ok", true, nil},
		"any twice":               {nil, "{...}b{...}", "abc", true, nil},
		"any of several lines":    {nil, "a{...}c", "a\nb\nc", true, nil},
		"not a name":              {nil, "{ID} {} {a b}", "{ID} {} {a b}", true, nil},
		"a map":                   {nil, `{"a": "1"}`, `{"a": "1"}`, true, nil},
		"a value like a name":     {names{"id": "{...}"}, "ok {id}", "ok anything", false, nil},
		"a value is literal text": {names{"id": "{x}"}, "ok {id}", "ok {x}", true, nil},
		"a value like pattern":    {names{"id": ".*"}, "ok {id}", "ok anything", false, nil},
	} {
		known := maps.Clone(row.known)
		if known == nil {
			known = names{}
		}
		want := maps.Clone(known)
		maps.Copy(want, row.learned)
		if got := known.match(row.expected, row.got); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
		if !maps.Equal(known, want) {
			t.Errorf("%s: names are then %v, want %v", name, known, want)
		}
	}
}

func TestFillAndConceal(t *testing.T) {
	n := names{"id": "0123456789abcdef", "copy": "0123456789abcdef", "longer": "x0123456789abcdef", "n": "1",
		"trap": "{id}"}
	if got := n.fill("open {id} {n} {unknown} {...} {trap}"); got != "open 0123456789abcdef 1 {unknown} {...} {id}" {
		t.Errorf("fill: %s", got)
	}
	for range 20 { // the order of a map's elements must not matter
		if got := n.conceal("ok 1 0123456789abcdef x0123456789abcdef"); got != "ok 1 {copy} {longer}" {
			t.Fatalf("conceal: %s", got)
		}
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"ping":                        {"ping"},
		"  put   a b ":                {"put", "a", "b"},
		`put "a key" "b\r\n\x00\xff"`: {"put", "a key", "b\r\n\x00\xff"},
		`put "" ""`:                   {"put", "", ""},
		`put a"b c"d`:                 {"put", `a"b`, `c"d`},
		`put "say \"hi\""`:            {"put", `say "hi"`},
	} {
		got, err := split(text)
		if err != nil || strings.Join(got, "·") != strings.Join(want, "·") || len(got) != len(want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":               "empty request; a request is at least one word",
		"   ":            "empty request; a request is at least one word",
		`put "a`:         `quoted word has no end: "a`,
		`put "a"b`:       `quoted word continues after its end: "a"b`,
		`put "a""b"`:     `quoted word continues after its end: "a""b"`,
		`put "\q"`:       `quoted word has no end: "\q"`,
		`put "a\" b`:     `quoted word has no end: "a\" b`,
		"put \"a\nb\" c": "quoted word has no end: \"a\nb\" c",
	} {
		if got, err := split(text); err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
