package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// CertificateName is a name in a client certificate, in one of these forms:
//
//	dns:shop.example.com            a DNS name among the alternative names
//	uri:spiffe://example.com/shop   a URI among the alternative names, such as a SPIFFE ID
//	subject:CN=shop,O=Acme          the whole subject (RFC 2253)
//	sha256:64 hex digits            the fingerprint of the certificate
//
// Names count only in certificates that the listener's authorities have signed.
type CertificateName string

// ParseCertificateName parses a name and returns it in its canonical form: DNS names and fingerprints in lower
// case.
func ParseCertificateName(text string) (CertificateName, error) {
	kind, value, _ := strings.Cut(text, ":")
	switch {
	case value == "":
	case kind == "dns" && !strings.ContainsAny(value, " /:"):
		return CertificateName(strings.ToLower(text)), nil
	case kind == "uri" && strings.Contains(value, ":"), kind == "subject" && strings.Contains(value, "="):
		return CertificateName(text), nil
	case kind == "sha256":
		if b, err := hex.DecodeString(strings.ReplaceAll(value, ":", "")); err == nil && len(b) == sha256.Size {
			return CertificateName("sha256:" + hex.EncodeToString(b)), nil
		}
	}
	return "", fmt.Errorf("%.80q is not a certificate name (allowed: dns:NAME, uri:URI, subject:CN=…, "+
		"sha256:FINGERPRINT)", text)
}

// names returns all names of a certificate.
func names(cert *x509.Certificate) []CertificateName {
	fingerprint := sha256.Sum256(cert.Raw)
	all := []CertificateName{
		CertificateName("sha256:" + hex.EncodeToString(fingerprint[:])),
		CertificateName("subject:" + cert.Subject.String()),
	}
	for _, name := range cert.DNSNames {
		all = append(all, CertificateName("dns:"+strings.ToLower(name)))
	}
	for _, uri := range cert.URIs {
		all = append(all, CertificateName("uri:"+uri.String()))
	}
	return all
}
