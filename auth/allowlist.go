package auth

import (
	"net/netip"
	"slices"
)

// Allowlist holds the addresses from which clients may connect. The zero Allowlist admits no client: access for all
// must be configured explicitly.
type Allowlist struct {
	Allow []netip.Prefix
	Deny  []netip.Prefix // exceptions from Allow
}

// Admits reports whether a client at ip may connect. An IPv4 address may be written as IPv6 (RFC 4291, section
// 2.5.5.2). The zero address of a client on a Unix socket is admitted: the file system guards the socket.
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

// Contains reports whether one of the ranges contains ip. The ranges may be IPv4 ranges written as IPv6, but ip may
// not.
func Contains(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return Unmap(p).Contains(ip) })
}

// Unmap returns the IPv4 range that is written as the IPv6 range p, or else p.
func Unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
