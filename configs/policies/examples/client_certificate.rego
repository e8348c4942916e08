# METADATA
# title: Only with a client certificate
# description: |
#   Apps of the tenant bank must show a certificate whose subject names their own organisation, although they have a secret as well.
package sessionserver.authz

deny contains "show a client certificate of O=Bank" if {
	input.tenant == "bank"
	not certified
}

certified if "O=Bank" in split(input.tls.certificate.subject, ",")
