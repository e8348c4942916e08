package sessionserver.login_keys_test

every_key := {"role": "readwrite", "read": ["*"], "write": ["*"]}

shared := {
	"acme": {"settings": {}, "apps": {"login": every_key, "shop": every_key}},
	"small": {"settings": {}, "apps": {"shop": every_key}},
}

writes(tenant, app, key) := {
	"tenant": tenant, "app": app, "role": "readwrite",
	"command": "put", "access": "write", "key": key,
}

test_login_writes_user if {
	data.sessionserver.authz.allow with input as writes("acme", "login", "user.name") with data.tenants as shared
}

test_others_do_not if {
	not data.sessionserver.authz.allow with input as writes("acme", "shop", "user.name") with data.tenants as shared
	data.sessionserver.authz.allow with input as writes("acme", "shop", "users") with data.tenants as shared
	data.sessionserver.authz.allow with input as writes("small", "shop", "user.name") with data.tenants as shared
}

test_all_read_it if {
	question := object.union(writes("acme", "shop", "user.name"), {"access": "read", "command": "get"})
	data.sessionserver.authz.allow with input as question with data.tenants as shared
}
