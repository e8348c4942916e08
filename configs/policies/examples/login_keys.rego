# Keys of one app.
#
# In a session that several apps share, user.* is what the login app says about who somebody is: all may read it, no other app may write it. The same
# can be said in the tenant's file, with patterns for each app; here it holds for every tenant that has an app of that name.
package sessionserver.authz

deny contains "user.* is for the app login to write" if {
	input.access == "write"
	startswith(input.key, "user.")
	input.app != "login"
	data.tenants[input.tenant].apps.login
}

# Who removes the whole session removes these keys as well: that takes nothing from anybody, for nobody is logged in any more.
