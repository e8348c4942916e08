package grafana

import "github.com/grafana/grafana-foundation-sdk/go/timeseries"

// ofTenant restricts a selector to the tenant that the variable selects.
const ofTenant = `tenant="$tenant"`

// usage is a graph of a resource: its usage by the selected tenant, and the quota if there is one.
func usage(title, description, unit, resource string) *timeseries.PanelBuilder {
	resourceOf := func(metric string) string {
		return sum("instance", of(metric, ofTenant, `resource="`+resource+`"`))
	}
	return graph(title, description, unit,
		query{resourceOf("sessionserver_tenant_usage"), "{{instance}}"},
		query{aggregate("max", "", resourceOf("sessionserver_tenant_quota")), "quota"}).
		OverrideByName("quota", limitLine())
}

// tenant is about one tenant, for the operator or for the tenant itself.
func tenant() *board {
	operations := rate("", "sessionserver_tenant_operations_total", ofTenant)
	refused := rate("", "sessionserver_tenant_operations_total", ofTenant, `result="refused"`)
	events := func(matcher string) string {
		return rate("event", "sessionserver_tenant_session_events_total", ofTenant, matcher)
	}
	ratio := of("instance_tenant_resource:sessionserver_tenant_usage:ratio", ofTenant)
	return newDashboard(tenantUID, "tenant",
		"One tenant: quotas, traffic, refusals, locks, sessions. Requires the setting metrics.tenants: full.",
		section{"$tenant now", []panel{
			bars("Quotas used", "Used share of each quota. The server refuses new data at 100%. "+
				"A tenant without quotas has no bars.", share,
				query{aggregate("max", "resource", ratio), "{{resource}}"}).
				Max(1).Thresholds(above(0.7, 0.9)).Height(5),
			figure("Operations", "Operations per second.", perSecond,
				query{operations, "operations"}).Span(4).Height(5),
			figure("Refused", "Share of operations that a gate or a quota refused.", share,
				query{refused + " / " + operations, "refused"}).
				Span(4).Height(5).Thresholds(above(0.01, 0.1)),
			figure("Sessions", "Stored sessions, including expired ones that are not yet swept.", count,
				query{sum("", of("sessionserver_tenant_usage", ofTenant, `resource="sessions"`)), "sessions"}).
				Span(4).Height(5),
			figure("Bytes", "Size of all keys and values of all sessions.", bytes,
				query{sum("", of("sessionserver_tenant_usage", ofTenant, `resource="bytes"`)), "bytes"}).
				Span(4).Height(5),
		}},
		section{"Usage against quota", []panel{
			usage("Sessions", "Stored sessions, and quotas.sessions.", count, "sessions").Span(12),
			usage("Bytes", "Size of all keys and values of all sessions, and quotas.bytes.", bytes, "bytes").Span(12),
			usage("Connections", "Connections of all apps, and quotas.connections.", count, "connections"),
			usage("Waiters", "Clients that wait for a lock, and quotas.waiters.", count, "waiters"),
			usage("Memory", "Memory held by requests, replies and open sessions, and quotas.memory.", bytes, "memory"),
		}},
		section{"Traffic", []panel{
			stack("Operations",
				"Operations per second, by result: ok, refused by a gate or a quota, or another error, "+
					"such as NOKEY for an absent key.", perSecond,
				query{rate("result", "sessionserver_tenant_operations_total", ofTenant), "{{result}}"}).Span(12),
			stack("Refusals", "Refusals per second, by gate.", perSecond,
				query{rate("gate", "sessionserver_tenant_refusals_total", ofTenant), "{{gate}}"}).Span(12),
		}},
		section{"Sessions and locks", []panel{
			graph("Session events", "Sessions created, saved, destroyed, moved to a new id and expired, per second. "+
				"Visitors without cookies create sessions that only expire.", perSecond,
				query{events(`event!~"lock_.+"`), "{{event}}"}),
			graph("Lock waiters", "Average number of clients that wait for a lock.", count,
				query{rate("", "sessionserver_tenant_lock_wait_seconds_total", ofTenant), "waiting"}),
			graph("Lock timeouts and losses",
				"Lock waits that timed out, and locks lost to a waiter after lock_lease, per second. "+
					"Changes of the former holder are refused.", perSecond,
				query{events(`event=~"lock_.+"`), "{{event}}"}),
		}},
	).WithVariable(choice("tenant", "Tenant",
		`label_values(sessionserver_tenant_operations_total{job=~"$job", instance=~"$instance"}, tenant)`))
}
