# Office hours.
#
# A tenant's own policy, to be put into tenants/NAME: its apps may come on weekdays from 8 to 18 in Berlin. As it reads the clock, its answers are
# not remembered; that is why it is not the operator's, which would slow down everybody. What a client holds it may give back at any time.
package sessionserver.tenant

zone := "Europe/Berlin"

allow if {
	not time.weekday([time.now_ns(), zone]) in {"Saturday", "Sunday"}
	[hour, _, _] := time.clock([time.now_ns(), zone])
	hour >= 8
	hour < 18
}

allow if input.command in {"close", "commit", "abort", "quit"}

reasons contains "come back in office hours"
