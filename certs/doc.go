// Package certs is where a listener's certificates come from: files that an operator keeps, an ACME server such as Let's Encrypt, or a
// local CA made for trying the server out.
//
// On the request path it stands behind the step "TLS" (see package server): for each handshake it chooses a certificate by the name that
// the client asks for, files first, then ACME, then the local CA. A name that nobody declared is refused (unrecognized_name); a client
// that asks for none, as those that connect to an IP address do, gets the default certificate. It also says which client certificates a
// listener asks for and trusts; what they mean is package auth's matter. It must never know what a tenant or a session is, nor accept a
// connection itself.
//
//	certs.go      the choice, and what runs beside it      watch.go     files that change
//	files.go      certificate files                        client.go    client certificates
//	acme.go       ACME by certmagic                        observer.go  events
//	acme_dns.go   DNS-01 by a program of the operator
//	local.go      the local CA
//
// Begin reading at [New] and [Certs.TLSConfig].
package certs
