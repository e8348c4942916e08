package configs

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var units = []struct {
	name string
	size Size
}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// UnmarshalText reads "4096", "64KiB", "1.5MiB" or "2 GiB".
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), Size(1)
	for _, u := range units {
		if n, found := strings.CutSuffix(number, u.name); found {
			number, unit = strings.TrimSpace(n), u.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	bytes := n * float64(unit)
	decimal := strings.Trim(number, "0123456789.") == "" // ParseFloat would take 1e3, inf and more
	if err != nil || !decimal || bytes > 1<<50 || bytes != math.Trunc(bytes) {
		return fmt.Errorf("%.80q is not a size "+
			"(allowed: a whole number of bytes, such as 4096, 64KiB, 1.5MiB or 2GiB)", text)
	}
	*s = Size(bytes)
	return nil
}

// MarshalText writes the size in the largest unit that it is a multiple of.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range units[:3] {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Prefix is an address range; a single address is a range of one.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads "10.0.0.0/8", "::1" or the like.
func (p *Prefix) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil || prefix.Addr().Is4In6() {
		return fmt.Errorf("%.80q is not an address range (allowed: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32)", text)
	}
	if prefix != prefix.Masked() {
		return fmt.Errorf("%.80q has bits set beyond its prefix length; write %s", text, prefix.Masked())
	}
	p.Prefix = prefix
	return nil
}
