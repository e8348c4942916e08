package configs

import (
	"net/netip"
	"strings"
	"testing"
)

func prefix(t *testing.T, text string) Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return Prefix{p}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "4096": 4096, "1B": 1, "5 B": 5, "64KiB": 64 * KiB, "1.5MiB": 1536 * KiB, "2 GiB": 2 * GiB,
		" 1MiB ": MiB, "0.5KiB": 512,
		"1048576GiB": 1 << 50, "007": 7,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v; want %d", text, s, err, want)
		}
		again := Size(-1)
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q is written as %q, which is read as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{
		"", " ", "KiB", "B", "-1", "-1KiB", "+1", "1e3", "0x10", "1_000", "inf", "Infinity", "NaN", "1.5", "0.1KiB",
		"1,5KiB", "1 K", "1kb", "1kib", "1KB", "1KiBB",
		"1KiB KiB", "1..5KiB", ".", "1048577GiB", "99999999999999999999999999", "1" + strings.Repeat("0", 400),
		"1KiB\n2", "１KiB",
	} {
		s := Size(42)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 42 {
			t.Errorf("%q is read as %d", text, s)
		} else if len(err.Error()) > 500 {
			t.Errorf("%.20q…: a message of %d bytes", text, len(err.Error()))
		}
	}
	for size, want := range map[Size]string{0: "0", 1023: "1023", KiB: "1KiB", 1536 * KiB: "1536KiB",
		MiB + 1: "1048577", 3 * GiB: "3GiB", -KiB: "-1024"} {
		if got, err := size.MarshalText(); err != nil || string(got) != want {
			t.Errorf("%d is written as %q, %v; want %q", int64(size), got, err, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.7": "192.0.2.7/32", "::1": "::1/128", "2001:DB8::/32": "2001:db8::/32",
		"0.0.0.0/0": "0.0.0.0/0", "::/0": "::/0",
		"::ffff:192.0.2.7": "192.0.2.7/32", // one address, in whatever spelling
		"192.0.2.7/32":     "192.0.2.7/32",
	} {
		var p Prefix
		if err := p.UnmarshalText([]byte(text)); err != nil || p.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, p, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                      "is not an address range",
		"everybody":             "is not an address range",
		"example.com":           "is not an address range",
		"10/8":                  "is not an address range",
		"10.0.0.0/33":           "is not an address range",
		"10.0.0.0/-1":           "is not an address range",
		"10.0.0.0/08":           "is not an address range",
		"010.0.0.0/8":           "is not an address range",
		"10.0.0.0/255.0.0.0":    "is not an address range",
		"::1%lo":                "is not an address range",
		"fe80::%eth0/64":        "is not an address range",
		"::ffff:192.0.2.0/120":  "is not an address range", // would never match: peers are compared as IPv4
		"::ffff:0:0/96":         "is not an address range",
		"10.1.2.3/8":            "has bits set beyond its prefix length; write 10.0.0.0/8",
		"2001:db8::1/32":        "has bits set beyond its prefix length; write 2001:db8::/32",
		"10.0.0.0/8 ":           "is not an address range",
		"10.0.0.0/8,10.0.0.0/9": "is not an address range",
	} {
		p := prefix(t, "192.0.2.0/24")
		if err := p.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) ||
			p != prefix(t, "192.0.2.0/24") {
			t.Errorf("%q: %v, %v; want %s", text, p, err, want)
		}
	}
}
