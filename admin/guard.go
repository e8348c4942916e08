package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Access configures the access to a server. The zero value admits every client that can connect, so it is meant for
// Unix sockets, whose access the file system controls.
type Access struct {
	// Loopback means that only programs of this machine can connect. Web pages in a browser of this machine must not
	// read anything either, so the Host header must name the loopback.
	Loopback bool

	// Token is a token that admits a request, as Authorization: Bearer. "" is none.
	Token string

	// Certificates means that connections use TLS, and that a verified client certificate admits a request.
	Certificates bool
}

// guarded reports whether a request needs a token or a certificate.
func (a Access) guarded() bool { return a.Token != "" || a.Certificates }

// TokenMin is the minimum length of a token in characters.
const TokenMin = 32

const tokenMax = 1024

// CheckToken returns an error for an invalid token. The error does not contain it.
func CheckToken(token string) error {
	if len(token) < TokenMin || len(token) > tokenMax {
		return fmt.Errorf("a token of %d characters (allowed: %d to %d; make one with: openssl rand -hex 32)",
			len(token), TokenMin, tokenMax)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return errors.New("a token with spaces or other than ASCII characters " +
				"(make one with: openssl rand -hex 32)")
		}
	}
	return nil
}

// tokenHash is the hash of a token. Hashes have the same length, so they can be compared in constant time.
type tokenHash [sha256.Size]byte

// SetToken replaces the token. A server created without a token cannot get one.
func (s *Server) SetToken(token string) error {
	if err := CheckToken(token); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	hash := tokenHash(sha256.Sum256([]byte(token)))
	s.token.Store(&hash)
	return nil
}

// guard admits allowed requests, and sets the headers that restrict browsers on every response.
func (s *Server) guard(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Content-Security-Policy", contentPolicy)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
		case s.opts.Access.Loopback && !s.opts.Access.guarded() && !loopbackHost(r.Host):
			http.Error(w, "the host is not a loopback address (use localhost, or set admin.token_file)",
				http.StatusForbidden)
		case r.URL.Path != healthPath && r.URL.Path != readyPath && !s.admits(r):
			if s.opts.Access.Token != "" {
				header.Set("WWW-Authenticate", `Bearer realm="sessionserver"`)
			}
			http.Error(w, "access denied: send "+s.opts.Access.credentials(), http.StatusUnauthorized)
		default:
			pages.ServeHTTP(w, r)
		}
	})
}

// admits reports whether a request has the token or certificate that it needs.
func (s *Server) admits(r *http.Request) bool {
	if !s.opts.Access.guarded() {
		return true
	}
	if s.opts.Access.Certificates && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	want := s.token.Load()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if want == nil || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// credentials returns a description of what a request needs.
func (a Access) credentials() string {
	switch {
	case a.Token != "" && a.Certificates:
		return "a bearer token (Authorization: Bearer TOKEN) or a client certificate"
	case a.Token != "":
		return "a bearer token (Authorization: Bearer TOKEN)"
	}
	return "a client certificate"
}

// loopbackHost reports whether a Host header names the loopback. It detects DNS rebinding: when evil.example resolves
// to 127.0.0.1, a page of it makes its browser connect here, but the Host header is still evil.example.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
