package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"os"

	"sessionserver/certs"
)

// A listener with a local CA. With other sources only the Options differ.
func Example() {
	folder, err := os.MkdirTemp("", "certs-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	c, err := certs.New(certs.Options{LocalCA: folder, LocalNames: []string{"sessions.internal"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.TLSConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			session := conn.(*tls.Conn)
			if session.Handshake() == nil && session.ConnectionState().NegotiatedProtocol == certs.Protocol {
				fmt.Fprintln(session, "hello")
			}
			session.Close()
		}
	}()
	// The listener accepts, so an ACME server could connect.
	if err := c.Start(context.Background(), l.Addr()); err != nil {
		log.Fatal(err)
	}

	roots, err := os.ReadFile(certs.CAFile(folder))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(greeting(l.Addr(), roots))
	// Output: hello
}

func greeting(server net.Addr, roots []byte) string {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	config := &tls.Config{ServerName: "sessions.internal", RootCAs: pool, NextProtos: []string{certs.Protocol}}
	conn, err := tls.Dial("tcp", server.String(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	text := make([]byte, 16)
	n, err := conn.Read(text)
	if err != nil {
		log.Fatal(err)
	}
	return string(text[:n])
}
