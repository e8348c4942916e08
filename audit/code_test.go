package audit

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCodes checks that each code has a unique name, fit for a label of a metric, and a meaning.
func TestCodes(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+\.[a-z]+(_[a-z]+)*$`)
	names := map[string]bool{}
	for _, c := range Codes() {
		if !name.MatchString(c.String()) || names[c.String()] || c.Meaning() == "" {
			t.Errorf("%d: %q, %q", c, c, c.Meaning())
		}
		names[c.String()] = true
		if back, ok := ParseCode(c.String()); !ok || back != c {
			t.Errorf("ParseCode of %v returned %v", c, back)
		}
	}
	for _, c := range []Code{0, codeCount, 255} {
		if c.String() != "unknown" || c.Meaning() != "" {
			t.Errorf("%d: %q", c, c)
		}
	}
}

func TestParseEvents(t *testing.T) {
	on := func(e Events) (names []string) {
		for _, c := range Codes() {
			if e.Has(c) && c != AuditLost {
				names = append(names, c.String())
			}
		}
		if !e.Has(AuditLost) {
			t.Error("audit.lost is not selected")
		}
		return names
	}
	all := on(Events{})
	if len(all) != len(Codes())-1 {
		t.Errorf("the zero value selects %v", all)
	}
	less := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "session.created" })
	for _, row := range []struct {
		list []string
		want []string
	}{
		{nil, nil},
		{[]string{"all"}, all},
		{[]string{"auth.failed", "server.started"}, []string{"auth.failed", "server.started"}},
		{[]string{"all", "-session.created"}, less},
		{[]string{"-session.created", "all"}, all},
		{[]string{"auth.failed", "-auth.failed", "audit.lost"}, nil},
	} {
		e, err := ParseEvents(row.list)
		if err != nil {
			t.Errorf("%v: %v", row.list, err)
		} else if got := on(e); !slices.Equal(got, row.want) {
			t.Errorf("%v: %v", row.list, got)
		}
	}
	for item, want := range map[string]string{
		"session.made": `unknown event "session.made" (allowed: all, the code of an event, ` +
			`or a code with a - before it: connection.authenticated, `,
		"-all":            `unknown event "-all" (allowed: `,
		"":                `unknown event "" (allowed: `,
		"unknown":         `unknown event "unknown" (allowed: `,
		"policy.decision": "policy.decision belongs to the decision log",
		"-audit.lost":     "audit.lost cannot be turned off",
	} {
		_, err := ParseEvents([]string{"all", item})
		e, ok := err.(EventsError)
		if !ok || e.Index != 1 || !strings.HasPrefix(e.Problem, want) {
			t.Errorf("%q: %v", item, err)
		}
	}
}
