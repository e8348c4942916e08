package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	rfc8555 "github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"sessionserver/server/servertest/require"
)

// pebble is an ACME server in this process, Let's Encrypt's own for tests, that looks up names in a DNS server where
// each is 127.0.0.1.
type pebble struct {
	directory string
	roots     string         // file of the authority of the server's own certificate
	issued    *x509.CertPool // the authority that issues certificates
	orders    atomic.Int64
	dns       *zone
}

// newPebble starts an ACME server that connects to these ports and issues certificates with the lifetime life.
func newPebble(t *testing.T, tlsPort, httpPort int, life time.Duration) *pebble {
	t.Helper()
	p := &pebble{dns: newZone(t), roots: filepath.Join(t.TempDir(), "roots.pem")}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{"default": {ValidityPeriod: uint64(life / time.Second)}})
	validation := va.New(quiet, httpPort, tlsPort, false, p.dns.address, store)
	front := wfe.New(quiet, store, validation, authority, []string{"pebble.test"}, false, false, 0, 0)
	handler := front.Handler()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if r.URL.Path == "/order-plz" && answer.Code == http.StatusCreated {
			p.orders.Add(1)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	require.NoError(t, os.WriteFile(p.roots, certPEM(server.Certificate().Raw), 0o644))
	p.directory = server.URL + wfe.DirectoryPath
	p.issued = x509.NewCertPool()
	p.issued.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: authority.GetRootCert(0).DER}))
	return p
}

// acme returns the options of a server that obtains certificates for names from p.
func (p *pebble) acme(t *testing.T, names ...string) *ACME {
	t.Helper()
	// Not t.TempDir: a renewal that is cancelled by Close may still put its lock away.
	storage, err := os.MkdirTemp("", "certs-acme-")
	require.NoError(t, err)
	t.Cleanup(func() {
		require.EventuallyNoError(t, func() error { return os.RemoveAll(storage) })
	})
	return &ACME{Names: names, Email: "ops@example.com", AgreeTerms: true, Directory: p.directory, CARoots: p.roots,
		Storage: storage}
}

// zone is a DNS server.
type zone struct {
	address string
	mu      sync.Mutex
	txt     map[string][]string
}

func newZone(t *testing.T) *zone {
	t.Helper()
	l := listen(t)
	z := &zone{address: l.Addr().String(), txt: map[string][]string{}}
	server := &dns.Server{Listener: l, Handler: z}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return z
}

func (z *zone) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(r)
	for _, q := range r.Question {
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			for _, value := range z.txt[strings.ToLower(q.Name)] {
				reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
			}
		}
	}
	w.WriteMsg(reply)
}

// records returns the number of TXT records.
func (z *zone) records() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	n := 0
	for _, values := range z.txt {
		n += len(values)
	}
	return n
}

// hookPrefix begins the names under which the test binary is a DNS program: the rest selects its behaviour.
const hookPrefix = "dns-hook-"

// hook is the DNS program: the port of a program's test server to tell, or fail, or hang.
func hook(name string, args []string) int {
	switch name {
	case "fail":
		fmt.Println("the provider says no")
		return 3
	case "hang":
		time.Sleep(time.Minute)
	}
	reply, err := http.PostForm("http://127.0.0.1:"+name,
		url.Values{"verb": {args[0]}, "name": {args[1]}, "value": {args[2]}})
	if err != nil || reply.StatusCode != http.StatusOK {
		fmt.Println(err, reply)
		return 1
	}
	return 0
}

// program returns a DNS program that sets the records of z.
func (z *zone) program(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z.mu.Lock()
		defer z.mu.Unlock()
		name, value := r.FormValue("name"), r.FormValue("value")
		if r.FormValue("verb") == "present" {
			z.txt[name] = append(z.txt[name], value)
		} else {
			z.txt[name] = slices.DeleteFunc(z.txt[name], func(v string) bool { return v == value })
		}
	}))
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	return hookProgram(t, port)
}

func hookProgram(t *testing.T, name string) string {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), hookPrefix+name)
	require.NoError(t, os.Symlink(binary, program))
	return program
}

// acmeListener returns a session listener and an ACME server that connects to it.
func acmeListener(t *testing.T, life time.Duration) (net.Listener, *pebble) {
	t.Helper()
	l := listen(t)
	return l, newPebble(t, l.Addr().(*net.TCPAddr).Port, 1, life)
}

// got waits until name is served with a certificate that pool trusts.
func got(t *testing.T, l net.Listener, pool *x509.CertPool, name string) *x509.Certificate {
	t.Helper()
	var cert *x509.Certificate
	require.EventuallyNoError(t, func() (err error) {
		cert, err = served(l, pool, name)
		return err
	})
	return cert
}

// challengeHello connects as an ACME server does.
func challengeHello(l net.Listener, name string) error {
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
		ServerName: name, NextProtos: []string{challengeProtocol}, InsecureSkipVerify: true,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	return echo(conn)
}

var testChallenge = rfc8555.Challenge{Identifier: rfc8555.Identifier{Type: "dns", Value: "example.com"}}
