# Block an address range for one tenant.
#
# The tenant acme is attacked from some networks that other tenants need. An allowlist in the tenant's file refuses
# clients earlier and at a lower cost. A policy is for rules that an allowlist cannot express: here these clients may
# read, but not write.
package sessionserver.authz

blocked := {"acme": ["203.0.113.0/24", "2001:db8:bad::/48"]}

deny contains "this network may only read" if {
	input.access == "write"
	some range in blocked[input.tenant]
	net.cidr_contains(range, input.address)
}
