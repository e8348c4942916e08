package grafana

// usage draws how much of a resource the tenant uses, and its quota where it has one.
func usage(title, description, unit, resource string) *Panel {
	of := func(metric string) string {
		return `sum by (instance) (` + metric + `{$scope, tenant="$tenant", resource="` + resource + `"})`
	}
	return graph(title, description, unit, query{of("sessionserver_tenant_usage"), "{{instance}}"}, query{`max(` + of("sessionserver_tenant_quota") + `)`, "quota"}).limit("quota")
}

// tenant answers what the operator, or the tenant itself, asks about one tenant.
func tenant() *Dashboard {
	d := newDashboard(tenantUID, "tenant", "One tenant: usage against quota, traffic, refusals, locks, sessions. It needs metrics.tenants: full.",
		row{"$tenant now", []*Panel{
			bars("Quotas used", "The share of each quota that is used. At 100% what is new is refused. Nothing here: the tenant has no quotas.", share,
				query{`max by (resource) (instance_tenant_resource:sessionserver_tenant_usage:ratio{$scope, tenant="$tenant"})`, "{{resource}}"}).upTo(1).worryAbove(0.7, 0.9).high(5),
			stat("Operations", "Each second.", perSecond,
				query{`sum(rate(sessionserver_tenant_operations_total{$scope, tenant="$tenant"}[$__rate_interval]))`, "operations"}).wide(4).high(5),
			stat("Refused", "The share of operations that a gate or a quota refused.", share,
				query{`sum(rate(sessionserver_tenant_operations_total{$scope, tenant="$tenant", result="refused"}[$__rate_interval])) / sum(rate(sessionserver_tenant_operations_total{$scope, tenant="$tenant"}[$__rate_interval]))`,
					"refused"}).wide(4).high(5).worryAbove(0.01, 0.1),
			stat("Sessions", "Stored, those that have expired and are not removed among them.", count,
				query{`sum(sessionserver_tenant_usage{$scope, tenant="$tenant", resource="sessions"})`, "sessions"}).wide(4).high(5),
			stat("Bytes", "Of all keys and values of all its sessions.", bytes,
				query{`sum(sessionserver_tenant_usage{$scope, tenant="$tenant", resource="bytes"})`, "bytes"}).wide(4).high(5),
		}},
		row{"Usage against quota", []*Panel{
			usage("Sessions", "Stored sessions, and quotas.sessions.", count, "sessions").wide(12),
			usage("Bytes", "Of all keys and values of all its sessions, and quotas.bytes.", bytes, "bytes").wide(12),
			usage("Connections", "Of all its apps, and quotas.connections.", count, "connections"),
			usage("Waiters", "Clients that wait for a lock, and quotas.waiters.", count, "waiters"),
			usage("Memory", "What its requests, replies and open sessions hold at once, and quotas.memory.", bytes, "memory"),
		}},
		row{"Traffic", []*Panel{
			graph("Operations", "Each second, by result: ok, refused by a gate or a quota, or an error of another kind (a key that is not there is one).", perSecond,
				query{`sum by (result) (rate(sessionserver_tenant_operations_total{$scope, tenant="$tenant"}[$__rate_interval]))`, "{{result}}"}).stacked().wide(12),
			graph("Refusals", "By the gate that refused: credentials, allowlists, rates, memory, policy, audit, quotas.", perSecond,
				query{`sum by (gate) (rate(sessionserver_tenant_refusals_total{$scope, tenant="$tenant"}[$__rate_interval]))`, "{{gate}}"}).stacked().wide(12),
		}},
		row{"Sessions and locks", []*Panel{
			graph("What becomes of sessions", "Created, saved, destroyed, moved to a new id, expired, each second. Many created that only expire: visitors without cookies.", perSecond,
				query{`sum by (event) (rate(sessionserver_tenant_session_events_total{$scope, tenant="$tenant", event!~"lock_.+"}[$__rate_interval]))`, "{{event}}"}),
			graph("Waiting for locks", "How many clients waited for a lock, on average.", count,
				query{`sum(rate(sessionserver_tenant_lock_wait_seconds_total{$scope, tenant="$tenant"}[$__rate_interval]))`, "waiting"}),
			graph("Locks not got or lost", "Waits that ended without the lock, and locks that were taken from slow holders, whose changes were refused.", perSecond,
				query{`sum by (event) (rate(sessionserver_tenant_session_events_total{$scope, tenant="$tenant", event=~"lock_.+"}[$__rate_interval]))`, "{{event}}"}),
		}},
	)
	which := choice("tenant", "Tenant", `label_values(sessionserver_tenant_operations_total{job=~"$job", instance=~"$instance"}, tenant)`)
	which["multi"], which["includeAll"] = false, false
	delete(which, "allValue")
	delete(which, "current")
	d.Templating.List = append(d.Templating.List, which)
	return d
}
