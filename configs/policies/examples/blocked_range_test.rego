package sessionserver.blocked_range_test

from(tenant, address, access) := {
	"tenant": tenant, "app": "shop", "role": "readwrite",
	"command": "open", "access": access, "address": address,
}

test_blocked if {
	not data.sessionserver.authz.allow with input as from("acme", "203.0.113.9", "write")
	not data.sessionserver.authz.allow with input as from("acme", "2001:db8:bad:1::1", "write")
}

test_not_blocked if {
	data.sessionserver.authz.allow with input as from("acme", "203.0.113.9", "read")
	data.sessionserver.authz.allow with input as from("acme", "203.0.114.9", "write")
	data.sessionserver.authz.allow with input as from("other", "203.0.113.9", "write")
	data.sessionserver.authz.allow with input as object.remove(from("acme", "", "write"), ["address"])
}
