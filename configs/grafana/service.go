package grafana

// quantiles draws the median, the 95th and the 99th percentile of a histogram's buckets, which are written with their labels.
func quantiles(title, description, buckets string) *Panel {
	of := func(q string) string {
		return "histogram_quantile(" + q + ", sum by (le) (rate(" + buckets + "[$__rate_interval])))"
	}
	return graph(title, description, seconds, query{of("0.99"), "99th percentile"}, query{of("0.95"), "95th percentile"}, query{of("0.5"), "median"})
}

// service answers: does it serve, how much, how well, and how much more could it.
func service() *Dashboard {
	return newDashboard(serviceUID, "service", "Traffic, errors, latency and saturation of session servers.",
		row{"Now", []*Panel{
			stat("Ready", "Whether every server says that clients can be sent to it: /readyz.", count,
				query{`min(sessionserver_ready{$scope})`, "ready"}).says("not ready", "ready", 1),
			stat("Alerts", "How many of the shipped alerts fire.", count,
				query{`count(ALERTS{alertname=~"Sessionserver.+", alertstate="firing", $scope}) or vector(0)`, "alerts"}).worryAbove(1, 3).plain(),
			stat("Commands", "What clients ask for, each second.", perSecond,
				query{`sum(rate(sessionserver_commands_total{$scope}[$__rate_interval]))`, "commands"}),
			stat("Failing", "The share of commands that failed through the server's fault (INTERNAL, UNAVAILABLE) in 5 minutes, where it is highest.", share,
				query{`max(instance:sessionserver_commands_failed:ratio_rate5m{$scope})`, "failing"}).worryAbove(0.001, 0.01),
			stat("99th percentile", "One of a hundred commands takes at least so long, in 5 minutes, where it is longest. open is left out: it waits for locks.", seconds,
				query{`max(instance:sessionserver_command_duration_seconds:p99_rate5m{$scope})`, "99th percentile"}).worryAbove(0.1, 0.25),
			stat("Connections", "The share of limits.connections that is in use, where it is highest.", share,
				query{`max(instance:sessionserver_connections:ratio{$scope})`, "connections"}).worryAbove(0.7, 0.85).upTo(1),
			stat("Up for", "Since when the server that was started last is up.", seconds,
				query{`time() - max(process_start_time_seconds{$scope})`, "up"}).plain(),
			stat("Version", "Which versions run.", count,
				query{`max by (version) (sessionserver_build_info{$scope})`, "{{version}}"}).names(),
		}},
		row{"Traffic", []*Panel{
			graph("Commands", "What clients ask for, by command.", perSecond,
				query{`sum by (command) (rate(sessionserver_commands_total{$scope}[$__rate_interval]))`, "{{command}}"}).stacked(),
			graph("Connections", "Connections that are open, by TLS version.", count,
				query{`sum by (tls) (sessionserver_connections{$scope})`, "TLS {{tls}}"}, query{`sum(sessionserver_connections_limit{$scope})`, "limit"}).stacked().limit("limit"),
			graph("Connections that end", "Why connections end, each second.", perSecond,
				query{`sum by (reason) (rate(sessionserver_connections_closed_total{$scope}[$__rate_interval]))`, "{{reason}}"}).stacked(),
			graph("Connections that begin", "By listener, each second. Far more than end with quit or at the client's wish: clients that do not keep connections.", perSecond,
				query{`sum by (listener) (rate(sessionserver_connections_opened_total{$scope}[$__rate_interval]))`, "{{listener}}"}).stacked(),
			graph("Sessions", "Those that are open on a connection, and all that are stored.", count,
				query{`sum(sessionserver_sessions_open{$scope})`, "open"}, query{`sum(sessionserver_stored_sessions{$scope})`, "stored"}),
			graph("What becomes of sessions", "Created, saved, destroyed, moved to a new id, expired, each second.", perSecond,
				query{`sum by (event) (rate(sessionserver_session_events_total{$scope}[$__rate_interval]))`, "{{event}}"}),
		}},
		row{"Errors", []*Panel{
			graph("Failing", "The share of commands that failed through the server's fault, in 5 minutes.", share,
				query{`instance:sessionserver_commands_failed:ratio_rate5m{$scope}`, "{{instance}}"}).worryAbove(0.001, 0.01),
			graph("Answers other than OK", "By code. Most are answers to questions (NOTFOUND, NOKEY) or mistakes of clients; INTERNAL and UNAVAILABLE are not.", perSecond,
				query{`sum by (code) (rate(sessionserver_commands_total{$scope, code!="OK"}[$__rate_interval]))`, "{{code}}"}).stacked(),
			graph("Refusals", "By the gate that refused. Security has more.", perSecond,
				query{`sum by (gate) (rate(sessionserver_refusals_total{$scope}[$__rate_interval]))`, "{{gate}}"}).stacked(),
		}},
		row{"Latency", []*Panel{
			quantiles("Commands but open", "How long commands take, without open, which waits for locks.", `sessionserver_command_duration_seconds_bucket{$scope, command!="open"}`).worryAbove(0.1, 0.25),
			graph("Slowest commands", "The 99th percentile of each command. A save waits for the disk, open for the lock.", seconds,
				query{`topk(8, histogram_quantile(0.99, sum by (command, le) (rate(sessionserver_command_duration_seconds_bucket{$scope}[$__rate_interval]))))`, "{{command}}"}),
			heat("Spread of durations", "How many commands took how long, without open. A second band above the first is often the disk.", `sessionserver_command_duration_seconds_bucket{$scope, command!="open"}`),
		}},
		row{"Saturation", []*Panel{
			graph("Memory held", "What requests, replies and open sessions hold, and limits.memory: beyond it large requests are refused.", bytes,
				query{`sum by (instance) (sessionserver_memory_held_bytes{$scope})`, "{{instance}}"}, query{`max(sessionserver_memory_limit_bytes{$scope})`, "limit of each"}).limit("limit of each"),
			graph("Turns waiting", "Operations that wait for a processor or for a save, because tenants share them out. More than none for long: the machine is full.", count,
				query{`sum by (kind) (sessionserver_turns_waiting{$scope})`, "{{kind}}"}),
			graph("CPU", "Processors that are busy with the server.", count,
				query{`rate(process_cpu_seconds_total{$scope}[$__rate_interval])`, "{{instance}}"}),
			graph("Memory of the process", "What the system has given it, and what of that the heap holds in use.", bytes,
				query{`sum by (instance) (process_resident_memory_bytes{$scope})`, "{{instance}} resident"}, query{`sum by (instance) (go_memstats_heap_inuse_bytes{$scope})`, "{{instance}} heap"}),
			graph("File descriptors", "The share of those that it may have. Each connection has one.", share,
				query{`process_open_fds{$scope} / process_max_fds{$scope}`, "{{instance}}"}).worryAbove(0.7, 0.9).upTo(1),
			graph("Goroutines", "Some for each connection; a growth without connections is a leak.", count,
				query{`go_goroutines{$scope}`, "{{instance}}"}),
		}},
		row{"Tenants", []*Panel{
			bars("Busiest tenants", "Operations each second. A click opens the tenant.", perSecond,
				query{`topk(10, sum by (tenant) (rate(sessionserver_tenant_operations_total{$scope}[$__rate_interval])))`, "{{tenant}}"}).wide(12).leadsToTenant(),
			bars("Fullest quotas", "The share of a quota that is used, by tenant and resource. A click opens the tenant.", share,
				query{`topk(10, max by (tenant, resource) (instance_tenant_resource:sessionserver_tenant_usage:ratio{$scope}))`, "{{tenant}}: {{resource}}"}).wide(12).upTo(1).worryAbove(0.7, 0.9).leadsToTenant(),
		}},
	)
}
