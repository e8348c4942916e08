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
	return contains(l.Allow, ip) && !contains(l.Deny, ip)
}

func contains(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}
