package grafana

import "github.com/grafana/grafana-foundation-sdk/go/common"

// refusalCodes are the error codes of replies to refused clients.
const refusalCodes = "NOAUTH|BADAUTH|TLSREQUIRED|IPDENIED|DENIED|RATELIMITED|QUOTA"

// security is about refusals, and about the state of what protects the service.
func security() *board {
	decisions := func(by string, matchers ...string) string {
		return rate(by, "sessionserver_policy_decisions_total", matchers...)
	}
	const lastReload = "sessionserver_reload_last_success_timestamp_seconds"
	const expiry = "sessionserver_certificate_expiry_timestamp_seconds"
	return newDashboard(securityUID, "security", "Refusals by gate and code, logins, policies, TLS, and the audit log.",
		section{"Now", []panel{
			figure("Failed logins", "Failed logins per second, by any method.", perSecond,
				query{rate("", "sessionserver_authentication_failures_total"), "failed"}).Thresholds(above(1, 5)),
			figure("Refusals", "Refusals per second, by any gate.", perSecond,
				query{rate("", "sessionserver_refusals_total"), "refused"}),
			figure("Denied by policy", "Share of policy decisions that deny, or fail.", share,
				query{decisions("", `outcome!="allowed"`) + " / " + decisions(""), "denied"}).
				Thresholds(above(0.05, 0.5)),
			figure("Next expiry", "Expiry of the certificate that expires first.", fromNow,
				query{lowest(expiry) + " * 1000", "expires"}).
				GraphMode(common.BigValueGraphModeNone),
			word("Policies", "Result of the last policy reload.", "failed", "OK", 1,
				query{lowest("sessionserver_reload_last_successful", `what="policy"`), "policies"}),
			word("Other reloads", "Result of the last reloads: configuration, tenants, certificates, tokens, logs.",
				"failed", "OK", 1,
				query{lowest("sessionserver_reload_last_successful", `what!="policy"`), "reloads"}),
			figure("Tenant files",
				"Number of problems in tenant files. The last valid content of each file stays in force.", count,
				query{sum("", of("sessionserver_tenant_files_problems")), "problems"}).
				Thresholds(above(1, 10)).GraphMode(common.BigValueGraphModeNone),
			word("Audit log", "Result of the last write to the audit log.", "OK", "failing", 0,
				query{highest("sessionserver_audit_failing"), "audit log"}),
		}},
		section{"Refusals", []panel{
			stack("By gate", "Refusals per second, by gate: authenticated, allowlist, rates, serving (draining), "+
				"session_state, memory, policy, audit, quota.", perSecond,
				query{rate("gate", "sessionserver_refusals_total"), "{{gate}}"}),
			stack("By code", "Refusals per second, by error code of the reply.", perSecond,
				query{rate("code", "sessionserver_commands_total", `code=~"`+refusalCodes+`"`), "{{code}}"}),
			stack("By rate limit",
				"Refusals per second, by exceeded rate: of an app, a tenant, an address, session creation, "+
					"unauthenticated clients, failed logins.", perSecond,
				query{rate("scope", "sessionserver_rate_limited_total"), "{{scope}}"}),
			bars("By tenant",
				"Refusals per second of the ten tenants with most. A click opens the dashboard of the tenant.",
				perSecond,
				query{top("10", rate("tenant", "sessionserver_tenant_refusals_total")), "{{tenant}}"}).
				DataLinks(tenantLink()),
			stack("Successful logins", "Successful logins per second, by method.", perSecond,
				query{rate("method", "sessionserver_authentications_total"), "{{method}}"}),
			graph("Failed logins",
				"Failed logins per second, by method. rates.auth_failures limits each address, to 1 by default.",
				perSecond,
				query{rate("method", "sessionserver_authentication_failures_total"), "{{method}}"}).
				Thresholds(above(1, 5)),
		}},
		section{"Policies", []panel{
			stack("Decisions",
				"Policy decisions per second. The outcome failed is a timeout (policy.timeout) or a faulty rule, "+
					"and refuses the operation.", perSecond,
				query{decisions("outcome"), "{{outcome}}"}),
			graph("Cached decisions", "Share of decisions from the cache.", share,
				query{decisions("instance", `cached="true"`) + " / " + decisions("instance"), "{{instance}}"}).Max(1),
			quantiles("Evaluation", "Duration of decisions that are not in the cache.",
				"sessionserver_policy_evaluation_duration_seconds").Thresholds(above(0.01, 0.1)),
			graph("Reloads", "Reloads in the last hour, by object and result.", count,
				query{increase("what, result", "sessionserver_reloads_total", "1h"), "{{what}} {{result}}"}).Span(12),
			graph("Age", "Time since the last successful reload.", seconds,
				query{"time() - " + aggregate("min", "what", of(lastReload)), "{{what}}"}).Span(12),
		}},
		section{"TLS", []panel{
			stack("Handshakes", "Successful handshakes per second, by version. "+
				"A rate far below that of TLS commands is good: clients reuse their connections.", perSecond,
				query{rate("version", "sessionserver_tls_handshakes_total"), "TLS {{version}}"}),
			stack("Failed handshakes", "Failed handshakes per second, by reason. Scanners cause some all day. "+
				"A jump after a certificate change: clients do not trust it.", perSecond,
				query{rate("reason", "sessionserver_tls_handshake_failures_total"), "{{reason}}"}),
			quantiles("Duration of handshakes", "Duration of successful handshakes, mostly network round trips.",
				"sessionserver_tls_handshake_duration_seconds"),
			list("Certificates",
				"Expiry of each certificate. ACME certificates renew in the last third of their lifetime.", fromNow,
				query{"sort(" + aggregate("min", "name, source", of(expiry)) + ") * 1000", "expires"},
				"name", "source"),
			graph("Certificate events",
				"Certificates obtained, renewed, failed, removed or near expiry, in the last day.", count,
				query{increase("event", "sessionserver_certificate_events_total", "1d"), "{{event}}"}).Span(12),
		}},
		section{"Audit log", []panel{
			stack("Events", "Audit events per second, by kind.", perSecond,
				query{rate("event", "sessionserver_audit_events_total"), "{{event}}"}),
			graph("Failures and losses",
				"Failed writes to the audit log, and lost audit events, policy decisions and log lines, per second.",
				perSecond,
				query{rate("", "sessionserver_audit_failures_total"), "failed writes"},
				query{rate("", "sessionserver_audit_lost_total"), "events lost"},
				query{rate("", "sessionserver_decisions_lost_total"), "decisions lost"},
				query{rate("", "sessionserver_log_lost_total"), "log lines lost"}),
			quantiles("Duration of writes",
				"Duration of writes to the audit log. With audit.sync, operations wait for them.",
				"sessionserver_audit_write_duration_seconds"),
		}},
	)
}
