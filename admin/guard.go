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

// Access says who may come. The zero value is everybody who can connect, so it is for Unix sockets, which the file system guards.
type Access struct {
	// Loopback says that only programs of this machine can connect. Web pages that run there must still not read anything: the name that a
	// browser believes to have connected to must be one of the loopback's.
	Loopback bool

	// Token is what a request may show, as Authorization: Bearer; "" is none.
	Token string

	// Certificates says that connections are TLS, and that a client certificate, which was verified then, is enough.
	Certificates bool
}

// guarded reports whether a request must show something.
func (a Access) guarded() bool { return a.Token != "" || a.Certificates }

// TokenMin is how many characters a token has at least.
const TokenMin = 32

const tokenMax = 1024

// CheckToken says what is wrong with a token. The error does not show it.
func CheckToken(token string) error {
	if len(token) < TokenMin || len(token) > tokenMax {
		return fmt.Errorf("a token of %d characters (allowed: %d to %d; make one with: openssl rand -hex 32)", len(token), TokenMin, tokenMax)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return errors.New("a token with spaces or other than ASCII characters (make one with: openssl rand -hex 32)")
		}
	}
	return nil
}

// tokenHash is what is kept of a token: texts of the same length, to be compared in constant time.
type tokenHash [sha256.Size]byte

// SetToken puts another token in the place of the one that there was. Without one from the beginning there can be none.
func (s *Server) SetToken(token string) error {
	if err := CheckToken(token); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	hash := tokenHash(sha256.Sum256([]byte(token)))
	s.token.Store(&hash)
	return nil
}

// guard lets through what is allowed, and says of every answer what browsers must not do with it.
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
			http.Error(w, "ask for this under a loopback address or localhost, or set admin.token_file", http.StatusForbidden)
		case r.URL.Path != healthPath && r.URL.Path != readyPath && !s.admits(r):
			if s.opts.Access.Token != "" {
				header.Set("WWW-Authenticate", `Bearer realm="sessionserver"`)
			}
			http.Error(w, "this needs "+s.opts.Access.wanted(), http.StatusUnauthorized)
		default:
			pages.ServeHTTP(w, r)
		}
	})
}

// admits reports whether a request shows what it must.
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
	shown := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(shown[:], want[:]) == 1
}

// wanted is what a request must show, for people.
func (a Access) wanted() string {
	switch {
	case a.Token != "" && a.Certificates:
		return "a bearer token (Authorization: Bearer TOKEN) or a client certificate"
	case a.Token != "":
		return "a bearer token (Authorization: Bearer TOKEN)"
	}
	return "a client certificate"
}

// loopbackHost reports whether a Host header names this machine's loopback. A page of evil.example whose name suddenly leads to 127.0.0.1 makes its
// browser ask for evil.example.
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
