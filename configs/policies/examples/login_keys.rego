# Keys that only one app may write.
#
# Several apps share a session, and the app login stores the user in user.*. All apps may read these keys, and only
# login may write them. Patterns in the tenant's file can express the same for one tenant. This rule applies to every
# tenant with an app of that name.
package sessionserver.authz

deny contains "only the app login may write user.*" if {
	input.access == "write"
	startswith(input.key, "user.")
	input.app != "login"
	data.tenants[input.tenant].apps.login
}

# An app that destroys the session removes these keys too. That is harmless, since the user is then logged out.
