package sessionserver.reporting_test

reports(question) := object.union(
	{"tenant": "acme", "app": "reports", "role": "readwrite", "command": "open", "access": "read"},
	question,
)

test_reports_read_the_saved_state if {
	data.sessionserver.authz.allow with input as reports({"mode": "s"})
	data.sessionserver.authz.allow with input as reports({"command": "get_all", "mode": "s"})
}

test_reports_take_no_lock if {
	not data.sessionserver.authz.allow with input as reports({"mode": "r"})
	not data.sessionserver.authz.allow with input as reports({"mode": "rw", "access": "write"})
	not data.sessionserver.authz.allow with input as reports({"command": "new", "access": "write"})
	reason := "reports may only read the saved state: open ID s"
	data.sessionserver.authz.reasons[reason] with input as reports({"mode": "r"})
}

test_others_are_not_reports if {
	data.sessionserver.authz.allow with input as reports({"app": "shop", "mode": "rw", "access": "write"})
	data.sessionserver.authz.allow with input as reports({"tenant": "other", "mode": "rw", "access": "write"})
}
