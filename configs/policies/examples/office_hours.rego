# Office hours.
#
# A policy of a tenant, for tenants/NAME: apps have access on weekdays from 8 to 18 in Berlin. It reads the clock, so
# its decisions are not cached. Therefore it is not part of the operator's policy, where it would slow down all
# tenants. A client may close or release its session at any time.
package sessionserver.tenant

zone := "Europe/Berlin"

allow if {
	not time.weekday([time.now_ns(), zone]) in {"Saturday", "Sunday"}
	[hour, _, _] := time.clock([time.now_ns(), zone])
	hour >= 8
	hour < 18
}

allow if input.command in {"close", "commit", "abort", "quit"}

reasons contains "access is limited to office hours"
