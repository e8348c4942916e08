// Package certs provides the certificates of listeners. They come from files of an operator, from an ACME server such
// as Let's Encrypt, or from a local CA for trying the server out.
//
// On the path of a new connection it is behind the handshake in conn.begin (see package server). For each handshake it
// chooses a certificate by the requested name: from files first, then ACME, then the local CA. An undeclared name is
// refused (unrecognized_name). A client that requests no name, such as one that connects to an IP address, gets the
// default certificate.
//
// The package also configures which client certificates a listener requests and trusts; package auth interprets them.
// It must never depend on tenants or sessions, nor accept a connection itself.
//
//	certs.go      the choice, and maintenance              watch.go     changes of files
//	files.go      certificate files                        client.go    client certificates
//	acme.go       ACME by certmagic                        observer.go  events
//	acme_dns.go   DNS-01 by a program of the operator
//	local.go      the local CA
//
// Begin reading at [New] and [Certs.TLSConfig].
package certs
