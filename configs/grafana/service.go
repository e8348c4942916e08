package grafana

import "github.com/grafana/grafana-foundation-sdk/go/common"

// service is about the whole server: is it ready, how much traffic has it, how many errors, how much room is left.
func service() *board {
	firing := of("ALERTS", `alertname=~"Sessionserver.+"`, `alertstate="firing"`)
	usage := of("instance_tenant_resource:sessionserver_tenant_usage:ratio")
	return newDashboard(serviceUID, "service", "Traffic, errors, latency and saturation of session servers.",
		section{"Now", []panel{
			word("Ready", "Readiness of all servers, as /readyz reports it.", "not ready", "ready", 1,
				query{lowest("sessionserver_ready"), "ready"}),
			figure("Alerts", "Number of shipped alerts that are firing.", count,
				query{aggregate("count", "", firing) + " or vector(0)", "alerts"}).
				Thresholds(above(1, 3)).GraphMode(common.BigValueGraphModeNone),
			figure("Commands", "Commands per second.", perSecond,
				query{rate("", "sessionserver_commands_total"), "commands"}),
			figure("Failed",
				"Share of commands that failed with INTERNAL or UNAVAILABLE in the last 5 minutes, "+
					"on the worst server.", share,
				query{highest("instance:sessionserver_commands_failed:ratio_rate5m"), "failed"}).
				Thresholds(above(0.001, 0.01)),
			figure("99th percentile", "Duration of commands in the last 5 minutes, on the slowest server. "+
				"Excludes open, which waits for locks.", seconds,
				query{highest("instance:sessionserver_command_duration_seconds:p99_rate5m"), "99th percentile"}).
				Thresholds(above(0.1, 0.25)),
			figure("Connections", "Share of limits.connections in use, on the fullest server.", share,
				query{highest("instance:sessionserver_connections:ratio"), "connections"}).
				Thresholds(above(0.7, 0.85)).Max(1),
			figure("Uptime", "Uptime of the server that started last.", seconds,
				query{"time() - " + highest("process_start_time_seconds"), "uptime"}).
				GraphMode(common.BigValueGraphModeNone),
			figure("Version", "Versions of the running servers.", count,
				query{aggregate("max", "version", of("sessionserver_build_info")), "{{version}}"}).
				TextMode(common.BigValueTextModeName).GraphMode(common.BigValueGraphModeNone),
		}},
		section{"Traffic", []panel{
			stack("Commands", "Commands per second, by command.", perSecond,
				query{rate("command", "sessionserver_commands_total"), "{{command}}"}),
			stack("Connections", "Open connections, by TLS version.", count,
				query{sum("tls", of("sessionserver_connections")), "TLS {{tls}}"},
				query{sum("", of("sessionserver_connections_limit")), "limit"}).
				OverrideByName("limit", limitLine()),
			stack("Connections closed", "Connections closed per second, by reason.", perSecond,
				query{rate("reason", "sessionserver_connections_closed_total"), "{{reason}}"}),
			stack("Connections opened", "Connections accepted per second, by listener. "+
				"A rate near that of logins: clients do not reuse their connections.", perSecond,
				query{rate("listener", "sessionserver_connections_opened_total"), "{{listener}}"}),
			graph("Sessions", "Sessions open on a connection, and sessions in storage.", count,
				query{sum("", of("sessionserver_sessions_open")), "open"},
				query{sum("", of("sessionserver_stored_sessions")), "stored"}),
			graph("Session events",
				"Sessions created, saved, destroyed, moved to a new id and expired, per second.", perSecond,
				query{rate("event", "sessionserver_session_events_total"), "{{event}}"}),
		}},
		section{"Errors", []panel{
			graph("Failed commands",
				"Share of commands that failed with INTERNAL or UNAVAILABLE in the last 5 minutes.", share,
				query{of("instance:sessionserver_commands_failed:ratio_rate5m"), "{{instance}}"}).
				Thresholds(above(0.001, 0.01)),
			stack("Error replies",
				"Error replies per second, by code. INTERNAL and UNAVAILABLE are faults of the server. "+
					"NOTFOUND and NOKEY are normal results.", perSecond,
				query{rate("code", "sessionserver_commands_total", `code!="OK"`), "{{code}}"}),
			stack("Refusals", "Refusals per second, by gate. The dashboard security has more.", perSecond,
				query{rate("gate", "sessionserver_refusals_total"), "{{gate}}"}),
		}},
		section{"Latency", []panel{
			quantiles("Duration of commands", "Duration of all commands except open, which waits for locks.",
				"sessionserver_command_duration_seconds", `command!="open"`).Thresholds(above(0.1, 0.25)),
			graph("Slowest commands",
				"99th percentile of each command. Saves wait for the disk, open waits for a lock.", seconds,
				query{top("8", quantile("0.99", "command", "sessionserver_command_duration_seconds")), "{{command}}"}),
			spread("Spread of durations", "Number of commands by duration, without open. "+
				"A second band above the first often comes from the disk.",
				"sessionserver_command_duration_seconds", `command!="open"`),
		}},
		section{"Saturation", []panel{
			graph("Memory held", "Memory held by requests, replies and open sessions, and limits.memory. "+
				"The server refuses large requests at the limit.", bytes,
				query{sum("instance", of("sessionserver_memory_held_bytes")), "{{instance}}"},
				query{highest("sessionserver_memory_limit_bytes"), "limit of each"}).
				OverrideByName("limit of each", limitLine()),
			graph("Fair queue", "Operations in the fair queue, for a processor or for a save. "+
				"A queue that stays: the machine is at its limit.", count,
				query{sum("kind", of("sessionserver_fair_queue_waiting")), "{{kind}}"}),
			graph("CPU", "Processors that the server uses.", count,
				query{"rate(" + of("process_cpu_seconds_total") + "[$__rate_interval])", "{{instance}}"}),
			graph("Memory of the process", "Resident memory, and the part of it that the heap uses.", bytes,
				query{sum("instance", of("process_resident_memory_bytes")), "{{instance}} resident"},
				query{sum("instance", of("go_memstats_heap_inuse_bytes")), "{{instance}} heap"}),
			graph("File descriptors", "Share of the allowed file descriptors in use. Each connection needs one.", share,
				query{of("process_open_fds") + " / " + of("process_max_fds"), "{{instance}}"}).
				Thresholds(above(0.7, 0.9)).Max(1),
			graph("Goroutines",
				"Goroutines. Each connection needs some; growth without new connections is a leak.", count,
				query{of("go_goroutines"), "{{instance}}"}),
		}},
		section{"Tenants", []panel{
			bars("Busiest tenants", "Operations per second. A click opens the dashboard of the tenant.", perSecond,
				query{top("10", rate("tenant", "sessionserver_tenant_operations_total")), "{{tenant}}"}).
				Span(12).DataLinks(tenantLink()),
			bars("Fullest quotas",
				"Used share of a quota, by tenant and resource. A click opens the dashboard of the tenant.", share,
				query{top("10", aggregate("max", "tenant, resource", usage)), "{{tenant}}: {{resource}}"}).
				Span(12).Max(1).Thresholds(above(0.7, 0.9)).DataLinks(tenantLink()),
		}},
	)
}
