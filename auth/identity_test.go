package auth

import (
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	long := strings.Repeat("a", 64)
	for name, want := range map[string]Identity{
		"dev/app":         {"dev", "app"},
		"a/b":             {"a", "b"},
		"1/2":             {"1", "2"},
		"acme-2/shop_eu":  {"acme-2", "shop_eu"},
		"a--__/b-":        {"a--__", "b-"},
		long + "/" + long: {long, long},
	} {
		id, err := ParseIdentity(name)
		if err != nil || id != want || id.IsZero() {
			t.Errorf("%q: %+v, %v", name, id, err)
		}
		if id.String() != name {
			t.Errorf("%q is written as %q", name, id)
		}
	}
}

// TestParseIdentityRefuses: a name that could be mistaken for another, or for a path, a pattern or a piece of a log, is none.
func TestParseIdentityRefuses(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, name := range []string{
		"", "/", "dev", "dev/", "/app", "dev/app/", "dev/app/x", "/dev/app", "dev//app", "dev\\app",
		"../app", "dev/..", "./app", "dev/.", ".dev/app", "a.b/app", "-dev/app", "dev/-app", "_dev/app", "dev/_app",
		"Dev/app", "dev/APP", "dev /app", " dev/app", "dev/app ", "dev/ap p", "dev/app\n", "dev\x00/app", "dev/app\x00", "dev/app\r\nok",
		"dev/a*", "dev/?", "dev:app", "dev/app:x", "dev/app@host", "dev/%61pp", "dev/{app}", "dev/$app", "dev/app;x", "dev/'", `dev/"`,
		"dév/app", "dev/аpp", "dev/app\u200b", "ｄev/app", "dev\u2044app", "dev／app", "\xff/app", "dev/\x80",
		long + "/app", "dev/" + long, strings.Repeat("x/", 1<<16),
	} {
		id, err := ParseIdentity(name)
		if err == nil || !id.IsZero() {
			t.Errorf("%.100q: %+v", name, id)
			continue
		}
		if text := err.Error(); len(text) > 500 || strings.ContainsAny(text, "\x00\r\n") {
			t.Errorf("not fit for a log: %q", text)
		}
	}
}

func TestNobody(t *testing.T) {
	if !(Identity{}).IsZero() {
		t.Error("the zero Identity is somebody")
	}
	for _, id := range []Identity{{Tenant: "dev"}, {App: "app"}} {
		if id.IsZero() {
			t.Errorf("%+v is nobody", id)
		}
	}
}
