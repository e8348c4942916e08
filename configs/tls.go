package configs

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// TLS says where the certificates of all listeners come from, files first, then ACME, then the local CA, and what handshakes may cost. Without
// any source there is no TLS.
type TLS struct {
	Certificates     []CertificateFiles `yaml:"certificates"`
	ACME             ACME               `yaml:"acme"`
	LocalCA          string             `yaml:"local_ca"`          // folder, or "" for none
	HandshakeTimeout time.Duration      `yaml:"handshake_timeout"` // for a whole handshake
	HandshakesPerIP  int                `yaml:"handshakes_per_ip"` // at the same time
}

// CertificateFiles are a certificate with its chain and its key, both PEM.
type CertificateFiles struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// ACME says which certificates an ACME server is asked for.
type ACME struct {
	Names       []string `yaml:"names"`
	Email       string   `yaml:"email"`
	AgreeTerms  bool     `yaml:"agree_terms"`
	Directory   string   `yaml:"directory"` // URL
	CARoots     string   `yaml:"ca_roots"`  // file
	Storage     string   `yaml:"storage"`   // folder
	OnDemand    bool     `yaml:"on_demand"` // also for the hosts of tenants
	HTTPAddress string   `yaml:"http_address"`
	DNSProgram  string   `yaml:"dns_program"`
}

// Used reports whether any certificate is wanted from the ACME server.
func (a ACME) Used() bool { return len(a.Names) > 0 || a.OnDemand }

// Used reports whether there is any source of certificates.
func (t TLS) Used() bool { return len(t.Certificates) > 0 || t.ACME.Used() || t.LocalCA != "" }

func (v *validator) tls(c *Config) {
	t := c.TLS
	for i, pair := range t.Certificates {
		for name, file := range map[string]string{"cert": pair.Cert, "key": pair.Key} {
			if file == "" {
				v.add(fmt.Sprintf("tls.certificates[%d].%s", i, name), "it is missing (allowed: a PEM file)")
			}
		}
	}
	v.within("tls.handshake_timeout", t.HandshakeTimeout, 100*time.Millisecond, time.Minute)
	v.number("tls.handshakes_per_ip", int64(t.HandshakesPerIP), 1, 1_000_000)
	if t.ACME.Used() {
		v.acme(t.ACME, c)
	}
	for i, l := range c.Listen {
		at := fmt.Sprintf("listen[%d].", i)
		if l.Plaintext == "never" && !t.Used() {
			v.add(at+"plaintext", "\"never\", and there is no TLS: nobody could connect (allowed: loopback, always, unless tls has certificates, acme or local_ca)")
		}
		v.oneOf(at+"client_certificates", l.ClientCertificates, "none", "optional", "required")
		switch asks := l.ClientCertificates != "none"; {
		case asks && !t.Used():
			v.add(at+"client_certificates", "%.80q, and there is no TLS (allowed: none, unless tls has certificates, acme or local_ca)", l.ClientCertificates)
		case asks && l.ClientCA == "":
			v.add(at+"client_ca", "it is missing (allowed: the PEM file of those who may vouch for clients)")
		case !asks && l.ClientCA != "":
			v.add(at+"client_ca", "%.80q, and no client is asked for a certificate (allowed: nothing, unless client_certificates is optional or required)", l.ClientCA)
		}
	}
}

func (v *validator) acme(a ACME, c *Config) {
	for i, name := range a.Names {
		switch host, isWildcard := strings.CutPrefix(name, "*."); {
		case !isHost(host):
			v.add(fmt.Sprintf("tls.acme.names[%d]", i), "%.80q (allowed: a name such as sessions.example.com, in lower case)", name)
		case isWildcard && a.DNSProgram == "":
			v.add(fmt.Sprintf("tls.acme.names[%d]", i), "%q is a wildcard (allowed with a dns_program)", name)
		}
	}
	if !a.AgreeTerms {
		v.add("tls.acme.agree_terms", "false (allowed: true, once you have read the terms of service of the authority)")
	}
	if a.Email != "" && !strings.Contains(a.Email, "@") {
		v.add("tls.acme.email", "%.80q (allowed: an address, or nothing)", a.Email)
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		v.add("tls.acme.directory", "%.80q (allowed: https://…)", a.Directory)
	}
	if a.Storage == "" {
		v.add("tls.acme.storage", "it is missing (allowed: a folder)")
	}
	if a.OnDemand && c.Tenants == "" {
		v.add("tls.acme.on_demand", "there are no tenants whose hosts it could be for (allowed: false, unless tenants names a folder)")
	}
	switch {
	case a.HTTPAddress != "" && a.DNSProgram != "":
		v.add("tls.acme.http_address", "there is a dns_program, which is used alone (allowed: one of both)")
	case a.HTTPAddress != "" && !hostPort(a.HTTPAddress):
		v.add("tls.acme.http_address", "%.80q (allowed: host:port such as :80, or nothing)", a.HTTPAddress)
	case a.HTTPAddress == "" && a.DNSProgram == "":
		for _, l := range c.Listen {
			if !strings.HasPrefix(l.Address, "unix:") {
				return
			}
		}
		v.add("tls.acme", "no listener is one that the authority could connect to (allowed: one with host:port, http_address, or dns_program)")
	}
}
