# Require a client certificate.
#
# Apps of the tenant bank need a certificate with their own organisation in its subject, in addition to their secret.
package sessionserver.authz

deny contains "a client certificate of O=Bank is required" if {
	input.tenant == "bank"
	not certified
}

# A comma inside a name is \, in the subject. So CN=teller\,O=Bank is one name without an organisation.
certified if regex.match(`(^|[^\\],)O=Bank(,|$)`, input.tls.certificate.subject)
