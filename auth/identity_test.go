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
			t.Errorf("ParseIdentity(%q) = %+v, %v, want %+v", name, id, err, want)
		}
		if id.String() != name {
			t.Errorf("String = %q, want %q", id, name)
		}
	}
}

// TestParseIdentityRefuses: a name is invalid if it could be mistaken for another one, or for a path, a pattern or a
// part of a log.
func TestParseIdentityRefuses(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, name := range []string{
		"", "/", "dev", "dev/", "/app", "dev/app/", "dev/app/x", "/dev/app", "dev//app", "dev\\app",
		"../app", "dev/..", "./app", "dev/.", ".dev/app", "a.b/app", "-dev/app", "dev/-app", "_dev/app", "dev/_app",
		"Dev/app", "dev/APP", "dev /app", " dev/app", "dev/app ", "dev/ap p", "dev/app\n", "dev\x00/app", "dev/app\x00",
		"dev/app\r\nok", "dev/a*", "dev/?", "dev:app", "dev/app:x", "dev/app@host", "dev/%61pp", "dev/{app}",
		"dev/$app", "dev/app;x", "dev/'", `dev/"`,
		"dév/app", "dev/аpp", "dev/app\u200b", "ｄev/app", "dev\u2044app", "dev／app", "\xff/app", "dev/\x80",
		long + "/app", "dev/" + long, strings.Repeat("x/", 1<<16),
	} {
		id, err := ParseIdentity(name)
		if err == nil || !id.IsZero() {
			t.Errorf("ParseIdentity(%.100q) = %+v, %v, want an error", name, id, err)
			continue
		}
		if text := err.Error(); len(text) > 500 || strings.ContainsAny(text, "\x00\r\n") {
			t.Errorf("error is too long for a log, or contains control characters: %q", text)
		}
	}
}

func TestIsZero(t *testing.T) {
	if !(Identity{}).IsZero() {
		t.Error("IsZero of the zero Identity = false")
	}
	for _, id := range []Identity{{Tenant: "dev"}, {App: "app"}} {
		if id.IsZero() {
			t.Errorf("IsZero of %+v = true", id)
		}
	}
}
