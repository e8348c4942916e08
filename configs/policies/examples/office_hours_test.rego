package sessionserver.office_hours_test

import data.sessionserver.tenant

at(text) := time.parse_rfc3339_ns(text)

test_open if {
	tenant.allow with input as {"command": "open"} with time.now_ns as at("2026-03-02T07:00:00Z") # Monday, 8:00
	tenant.allow with input as {"command": "open"} with time.now_ns as at("2026-07-03T15:59:59Z") # Friday, 17:59
}

test_shut if {
	not tenant.allow with input as {"command": "open"} with time.now_ns as at("2026-03-02T06:59:59Z")
	not tenant.allow with input as {"command": "open"} with time.now_ns as at("2026-03-02T17:00:00Z")
	not tenant.allow with input as {"command": "open"} with time.now_ns as at("2026-03-07T12:00:00Z") # Saturday
}

test_session_can_be_closed if {
	tenant.allow with input as {"command": "close"} with time.now_ns as at("2026-03-07T12:00:00Z")
}
