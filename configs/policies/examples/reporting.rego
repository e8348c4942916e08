# A read-only reporting app.
#
# acme/reports may look at sessions but not hold up those who change them: it reads the last saved state, without a lock, whatever its role is.
package sessionserver.authz

reporting if {
	input.tenant == "acme"
	input.app == "reports"
}

deny contains "reports read the saved state: open ID s" if {
	reporting
	input.access == "write"
}

deny contains "reports read the saved state: open ID s" if {
	reporting
	input.command == "open"
	not saved_state
}

saved_state if input.mode == "s"
