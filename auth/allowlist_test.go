package auth

import (
	"net/netip"
	"strings"
	"testing"
)

func ranges(t *testing.T, text string) []netip.Prefix {
	t.Helper()
	var all []netip.Prefix
	for part := range strings.FieldsSeq(text) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestAdmits(t *testing.T) {
	for _, row := range []struct {
		allow, deny       string
		admitted, refused string
	}{
		{"", "", "", "127.0.0.1 ::1 0.0.0.0 ::"},
		{"", "10.0.0.0/8", "", "10.0.0.1 127.0.0.1"},
		{"0.0.0.0/0", "", "10.0.0.1 255.255.255.255 ::ffff:10.0.0.1", "::1 2001:db8::1"},
		{"::/0", "", "::1 2001:db8::1", "10.0.0.1 ::ffff:10.0.0.1"},
		{
			"0.0.0.0/0 ::/0", "10.0.0.0/8 2001:db8::/32", "9.255.255.255 11.0.0.0 ::1",
			"10.0.0.0 10.255.255.255 ::ffff:10.1.2.3 2001:db8:ffff::1",
		},
		{"10.0.0.0/8", "10.1.0.0/16", "10.0.0.1 10.2.0.1", "10.1.0.1 ::ffff:10.1.0.1 11.0.0.1"},
		{"192.0.2.7/32", "", "192.0.2.7", "192.0.2.6 192.0.2.8"},
		{"fe80::/10", "", "fe80::1 fe80::1%eth0", "fec0::1"},
		{"::ffff:192.0.2.0/120", "", "192.0.2.1 ::ffff:192.0.2.1", "192.0.3.1"},
	} {
		l := Allowlist{Allow: ranges(t, row.allow), Deny: ranges(t, row.deny)}
		for text := range strings.FieldsSeq(row.admitted) {
			if !l.Admits(netip.MustParseAddr(text)) {
				t.Errorf("allow %q deny %q: %s is refused", row.allow, row.deny, text)
			}
		}
		for text := range strings.FieldsSeq(row.refused) {
			if l.Admits(netip.MustParseAddr(text)) {
				t.Errorf("allow %q deny %q: %s is admitted", row.allow, row.deny, text)
			}
		}
		if !l.Admits(netip.Addr{}) {
			t.Errorf("allow %q deny %q: the client of a Unix socket is refused", row.allow, row.deny)
		}
	}
}
