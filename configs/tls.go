package configs

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// TLS holds the sources of certificates for all listeners, and the limits of handshakes. The order of sources is files,
// ACME, local CA. Without any source TLS is off.
type TLS struct {
	Certificates     []CertificateFiles `yaml:"certificates"`
	ACME             ACME               `yaml:"acme"`
	LocalCA          string             `yaml:"local_ca"`          // folder, or "" for none
	HandshakeTimeout time.Duration      `yaml:"handshake_timeout"` // of a whole handshake
	HandshakesPerIP  int                `yaml:"handshakes_per_ip"` // concurrent
}

// CertificateFiles are the PEM files of a certificate with its chain, and of its key.
type CertificateFiles struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// ACME holds the settings of certificates from an ACME server.
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

// Used reports whether the ACME server is a source of certificates.
func (a ACME) Used() bool { return len(a.Names) > 0 || a.OnDemand }

// Used reports whether there is any source of certificates.
func (t TLS) Used() bool { return len(t.Certificates) > 0 || t.ACME.Used() || t.LocalCA != "" }

func (v *validator) tls(c *Config) {
	t := c.TLS
	for i, pair := range t.Certificates {
		for name, file := range map[string]string{"cert": pair.Cert, "key": pair.Key} {
			if file == "" {
				v.add(fmt.Sprintf("tls.certificates[%d].%s", i, name), "missing (allowed: a PEM file)")
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
			v.add(at+"plaintext", "\"never\" without TLS: no client could connect (allowed: loopback, always, "+
				"unless tls has certificates, acme or local_ca)")
		}
		v.oneOf(at+"client_certificates", l.ClientCertificates, "none", "optional", "required")
		switch requested := l.ClientCertificates != "none"; {
		case requested && !t.Used():
			v.add(at+"client_certificates", "%.80q without TLS (allowed: none, "+
				"unless tls has certificates, acme or local_ca)", l.ClientCertificates)
		case requested && l.ClientCA == "":
			v.add(at+"client_ca", "missing (allowed: the PEM file of the authorities that sign client certificates)")
		case !requested && l.ClientCA != "":
			v.add(at+"client_ca", "%.80q, although client_certificates is none (allowed: nothing, "+
				"unless client_certificates is optional or required)", l.ClientCA)
		}
	}
}

func (v *validator) acme(a ACME, c *Config) {
	for i, name := range a.Names {
		key := fmt.Sprintf("tls.acme.names[%d]", i)
		switch host, isWildcard := strings.CutPrefix(name, "*."); {
		case !isHost(host):
			v.add(key, "%.80q (allowed: a name such as sessions.example.com, in lower case)", name)
		case isWildcard && a.DNSProgram == "":
			v.add(key, "%q is a wildcard (allowed with a dns_program)", name)
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
		v.add("tls.acme.storage", "missing (allowed: a folder)")
	}
	if a.OnDemand && c.Tenants == "" {
		v.add("tls.acme.on_demand", "true without tenants (allowed: false, unless tenants names a folder)")
	}
	switch {
	case a.HTTPAddress != "" && a.DNSProgram != "":
		v.add("tls.acme.http_address", "set although dns_program is set (allowed: one of the two)")
	case a.HTTPAddress != "" && !hostPort(a.HTTPAddress):
		v.add("tls.acme.http_address", "%.80q (allowed: host:port such as :80, or nothing)", a.HTTPAddress)
	case a.HTTPAddress == "" && a.DNSProgram == "":
		for _, l := range c.Listen {
			if !strings.HasPrefix(l.Address, "unix:") {
				return
			}
		}
		v.add("tls.acme", "the authority cannot connect to any listener "+
			"(allowed: a listener with host:port, http_address, or dns_program)")
	}
}
