package auth

import (
	"net/netip"
	"slices"
)

// Allowlist says from which addresses clients may come. The zero Allowlist admits nobody: "open to all" is something that an operator writes.
type Allowlist struct {
	Allow []netip.Prefix
	Deny  []netip.Prefix // these not, although Allow has them
}

// Admits reports whether a client at ip may come. IPv4 addresses may be written as IPv6 (RFC 4291, section 2.5.5.2). No address at all, as
// clients of a Unix socket have, is admitted: those are guarded by the file system instead.
func (l *Allowlist) Admits(ip netip.Addr) bool {
	if !ip.IsValid() {
		return true
	}
	ip = ip.Unmap().WithZone("")
	return Contains(l.Allow, ip) && !Contains(l.Deny, ip)
}

func (l *Allowlist) clone() Allowlist {
	return Allowlist{Allow: slices.Clone(l.Allow), Deny: slices.Clone(l.Deny)}
}

// Contains reports whether one of the ranges has ip, which is not an IPv4 address written as IPv6. The ranges may be.
func Contains(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return Unmap(p).Contains(ip) })
}

// Unmap is the IPv4 range that an IPv6 range stands for, or else the range as it is.
func Unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
