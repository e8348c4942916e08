# Block an address range for one tenant.
#
# acme is attacked from some networks that others need. An allowlist in the tenant's file turns clients away earlier and costs less; this is for
# rules that it cannot tell, here: they may read, but change nothing.
package sessionserver.authz

blocked := {"acme": ["203.0.113.0/24", "2001:db8:bad::/48"]}

deny contains "nothing can be changed from this network" if {
	input.access == "write"
	some range in blocked[input.tenant]
	net.cidr_contains(range, input.address)
}
