# A read-only reporting app.
#
# The app acme/reports may read sessions, but must not delay clients that change them. So it reads the last saved state
# without a lock, whatever its role is.
package sessionserver.authz

reporting if {
	input.tenant == "acme"
	input.app == "reports"
}

deny contains "reports may only read the saved state: open ID s" if {
	reporting
	input.access == "write"
}

deny contains "reports may only read the saved state: open ID s" if {
	reporting
	input.command == "open"
	not saved_state
}

saved_state if input.mode == "s"
