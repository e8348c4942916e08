# Only with a client certificate.
#
# Apps of the tenant bank must show a certificate whose subject names their own organisation, although they have a secret as well.
package sessionserver.authz

deny contains "show a client certificate of O=Bank" if {
	input.tenant == "bank"
	not certified
}

# A comma within a name is \, in the subject, and so no end: CN=teller\,O=Bank is one name that says nothing of an organisation.
certified if regex.match(`(^|[^\\],)O=Bank(,|$)`, input.tls.certificate.subject)
