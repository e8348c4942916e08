# The default policy: roles, and for each app the patterns of the keys that it may read and write. The server evaluates
# it once for each key of a command; docs/policy.md describes the inputs. Further files of this package may add rules
# `deny`, each with its reason.
package sessionserver.authz

# An operation is allowed if its role and its key are allowed, and no rule denies it.
allow if {
	role_allows
	key_allowed
	count(deny) == 0
}

role_allows if input.role in {"readwrite", "admin"}

# This includes abort of a session that was opened for writing before the app got this role.
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

# An input without a key asks whether the command may run at all.
key_allowed if not input.key

key_allowed if {
	some pattern in patterns
	glob.match(pattern, null, input.key) # without delimiters, so * matches any characters, also dots
}

patterns := data.tenants[input.tenant].apps[input.app].read if input.access == "read"

patterns := data.tenants[input.tenant].apps[input.app].write if input.access == "write"

# Rules that deny, with a reason for the client. Negate rules, not expressions: `not input.x in s` is undefined if
# input.x is absent.
deny contains "this app has an unknown role" if not known_role

known_role if input.role in {"readwrite", "readonly", "admin"}

reasons contains reason if some reason in deny

reasons contains "this app may only read" if {
	input.role == "readonly"
	not role_allows
}

reasons contains sprintf("this app may not %s this key", [input.access]) if not key_allowed
