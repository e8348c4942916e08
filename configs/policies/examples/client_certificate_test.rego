package sessionserver.client_certificate_test

opens(tenant, facts) := object.union(
	{
		"tenant": tenant, "app": "teller", "role": "readwrite",
		"command": "open", "access": "write", "mode": "rw",
	},
	facts,
)

shown(subject) := {"tls": {"version": "1.3", "certificate": {"subject": subject}}}

test_bank_requires_its_certificate if {
	data.sessionserver.authz.allow with input as opens("bank", shown("CN=teller,O=Bank"))
	data.sessionserver.authz.allow with input as opens("bank", shown("O=Bank"))
	data.sessionserver.authz.allow with input as opens("bank", shown("CN=teller,O=Bank,C=DE"))
	not data.sessionserver.authz.allow with input as opens("bank", shown("CN=teller,O=Bankrupt"))
	not data.sessionserver.authz.allow with input as opens("bank", shown("CN=teller,O=Riverbank,OU=O=Bank"))
	not data.sessionserver.authz.allow with input as opens("bank", shown(`CN=teller\,O=Bank`))
	not data.sessionserver.authz.allow with input as opens("bank", shown(`CN=teller\\\,O=Bank,O=Other`))
	not data.sessionserver.authz.allow with input as opens("bank", shown(`O=Bank\, Other`))
	not data.sessionserver.authz.allow with input as opens("bank", {"tls": {"version": "1.3"}})
	not data.sessionserver.authz.allow with input as opens("bank", {})
	data.sessionserver.authz.reasons["a client certificate of O=Bank is required"] with input as opens("bank", {})
}

test_others_do_not if {
	data.sessionserver.authz.allow with input as opens("acme", {})
}
