# What apps may do: roles, and for each app the patterns of keys that it may read and write. The server asks about keys one by one; docs/policy.md tells
# how commands become questions. Further files of this package may add rules `deny`, each of which forbids and says why.
package sessionserver.authz

# Nothing is allowed unless the role and the key are, and no rule forbids.
allow if {
	role_allows
	key_allowed
	count(deny) == 0
}

role_allows if input.role in {"readwrite", "admin"}

# Also to let go, with abort, of a session that was opened for writing before the app had this role.
role_allows if {
	input.role == "readonly"
	input.access == "none"
}

role_allows if {
	input.role == "readonly"
	input.access == "read"
	not for_writing
}

for_writing if input.mode in {"rw", "u"}

# Questions that are not about a key: may the command run at all?
key_allowed if not input.key

key_allowed if {
	some pattern in patterns
	glob.match(pattern, null, input.key) # without delimiters: * stands for any characters, dots too
}

patterns := data.tenants[input.tenant].apps[input.app].read if input.access == "read"

patterns := data.tenants[input.tenant].apps[input.app].write if input.access == "write"

# Rules that forbid, in words for the client. Negate rules, not expressions: where input.x is absent, `not input.x in s` is not true either.
deny contains "this app has no role that there is" if not known_role

known_role if input.role in {"readwrite", "readonly", "admin"}

reasons contains reason if some reason in deny

reasons contains "this app may only read" if {
	input.role == "readonly"
	not role_allows
}

reasons contains sprintf("this app may not %s this key", [input.access]) if not key_allowed
