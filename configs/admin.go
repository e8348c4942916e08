package configs

import (
	"net"
	"net/netip"
	"strings"
)

// Admin is the HTTP address for operators and its access control.
type Admin struct {
	Address     string `yaml:"address"`     // host:port, unix:/path, or "" for none
	TokenFile   string `yaml:"token_file"`  // file of a bearer token
	ClientCA    string `yaml:"client_ca"`   // file of the authorities that sign operators' certificates
	Certificate string `yaml:"certificate"` // file; "" is one of the certificates under tls
	Key         string `yaml:"key"`         // file
	Profiles    bool   `yaml:"profiles"`    // profiles of the Go runtime
}

// Local reports whether only programs on this machine can connect.
func (a Admin) Local() bool { return strings.HasPrefix(a.Address, "unix:") || isLoopback(a.Address) }

// UsesTLS reports whether the address is HTTPS: always if it is not local, otherwise if a certificate or client CA is
// set.
func (a Admin) UsesTLS() bool {
	return a.Address != "" && (!a.Local() || a.Certificate != "" || a.ClientCA != "")
}

// isLoopback reports whether host:port is an address that no other machine can reach.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

func (v *validator) admin(c *Config) {
	a := c.Admin
	path, isUnix := strings.CutPrefix(a.Address, "unix:")
	switch {
	case a.Address == "":
		return
	case isUnix && !strings.HasPrefix(path, "/") || !isUnix && !hostPort(a.Address):
		v.add("admin.address", "%.80q (allowed: host:port, unix:/path, or nothing)", a.Address)
		return
	}
	for _, l := range c.Listen {
		if l.Address == a.Address && !strings.HasSuffix(a.Address, ":0") {
			v.add("admin.address", "%q is the address of listener %s, too (allowed: a different address)",
				a.Address, l.Name)
		}
	}
	if !a.Local() && a.TokenFile == "" && a.ClientCA == "" {
		v.add("admin.address", "%q is not a loopback address, and every client could read there "+
			"(allowed: 127.0.0.1:port, unless token_file or client_ca is set)", a.Address)
	}
	if (a.Certificate == "") != (a.Key == "") {
		v.add("admin.certificate", "certificate and key belong together (allowed: both, or neither)")
	}
	switch needs := a.UsesTLS() && a.Certificate == "" && !c.TLS.Used(); {
	case needs && !a.Local():
		v.add("admin.address", "%q is not a loopback address, and traffic without TLS can be read on the network "+
			"(allowed: 127.0.0.1:port, unless certificate and key are set, or tls has certificates, acme or local_ca)",
			a.Address)
	case needs:
		v.add("admin.client_ca", "%.80q without TLS (allowed: nothing, unless certificate and key are set, "+
			"or tls has certificates, acme or local_ca)", a.ClientCA)
	}
}
