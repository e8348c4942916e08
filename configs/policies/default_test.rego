package sessionserver.authz_test

import data.sessionserver.authz

# No example denies anything to this tenant, so these tests also pass with the examples.
tenants := {"test": {"settings": {}, "apps": {
	"shop": {"role": "readwrite", "read": ["*"], "write": ["cart.*", "seen"]},
	"reports": {"role": "readonly", "read": ["order.*"], "write": ["*"]},
	"none": {"role": "readwrite", "read": [], "write": []},
}}}

ask(app, question) := object.union(
	{
		"tenant": "test", "app": app, "role": tenants.test.apps[app].role, "command": "get", "access": "read",
		"listener": "main", "address": "198.51.100.1", "session": {"open": true},
	},
	question,
)

test_unknown_identity_is_denied if {
	not authz.allow with input as {} with data.tenants as tenants
	not authz.allow with input as ask("shop", {"role": "owner"}) with data.tenants as tenants
	not authz.allow with input as ask("shop", {"tenant": "other", "key": "a"}) with data.tenants as tenants
}

test_readwrite_may_run_all if {
	every question in [
		{"command": "ping", "access": "none"},
		{"command": "new", "access": "write"},
		{"command": "open", "access": "write", "mode": "rw"},
		{"command": "get_all", "access": "read"},
		{"command": "put_all", "access": "write"},
		{"command": "close", "access": "write", "mode": "rw"},
	] {
		authz.allow with input as ask("shop", question) with data.tenants as tenants
		authz.allow with input as ask("shop", object.union(question, {"role": "admin"})) with data.tenants as tenants
	}
}

test_readonly_reads if {
	every question in [
		{"command": "ping", "access": "none"},
		{"command": "open", "access": "read", "mode": "r"},
		{"command": "open", "access": "read", "mode": "s"},
		{"command": "get", "access": "read", "mode": "r", "key": "order.1"},
		{"command": "close", "access": "read", "mode": "r"},
		{"command": "abort", "access": "none", "mode": "s"},
		{"command": "abort", "access": "none", "mode": "rw"},
	] {
		authz.allow with input as ask("reports", question) with data.tenants as tenants
	}
}

test_readonly_does_not_write if {
	every question in [
		{"command": "new", "access": "write"},
		{"command": "open", "access": "write", "mode": "rw"},
		{"command": "open", "access": "read", "mode": "u"},
		{"command": "get", "access": "read", "mode": "rw", "key": "order.1"},
		{"command": "close", "access": "write", "mode": "rw"},
		{"command": "put", "access": "write", "mode": "r", "key": "order.1"},
		{"command": "lifetime", "access": "write", "mode": "r"},
		{"command": "destroy", "access": "write", "mode": "r"},
	] {
		not authz.allow with input as ask("reports", question) with data.tenants as tenants
		authz.reasons == {"this app may only read"} with input as ask("reports", question) with data.tenants as tenants
	}
}

test_keys if {
	authz.allow with input as ask("shop", {"key": "user.name"}) with data.tenants as tenants
	authz.allow with input as ask("shop", {"access": "write", "key": "cart.1.count"}) with data.tenants as tenants
	authz.allow with input as ask("shop", {"access": "write", "key": "seen"}) with data.tenants as tenants
	not authz.allow with input as ask("shop", {"access": "write", "key": "seen2"}) with data.tenants as tenants
	not authz.allow with input as ask("shop", {"access": "write", "key": "user.name"}) with data.tenants as tenants
	not authz.allow with input as ask("reports", {"key": "user.name"}) with data.tenants as tenants
	not authz.allow with input as ask("none", {"key": "a"}) with data.tenants as tenants
	authz.allow with input as ask("shop", {"key": ""}) with data.tenants as tenants
	not authz.allow with input as ask("shop", {"access": "write", "key": ""}) with data.tenants as tenants
	not authz.allow with input as ask("none", {"key": ""}) with data.tenants as tenants
}

test_key_without_access_is_denied if {
	not authz.allow with input as ask("shop", {"access": "none", "key": "a"}) with data.tenants as tenants
}

test_reasons if {
	reasons := {"this app may not write this key"}
	authz.reasons == reasons with input as ask("shop", {"access": "write", "key": "x"}) with data.tenants as tenants
	authz.reasons == set() with input as ask("shop", {}) with data.tenants as tenants
}
