package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// Finding is a problem of a certificate that can be read but that clients refuse, now or soon.
type Finding struct {
	Wrong bool // clients refuse it now; otherwise they may later
	Text  string
}

// Examine returns the present and coming problems of a pair's certificates at a time. It returns nothing for invalid
// files, which Check reports.
func (p Pair) Examine(now time.Time) []Finding {
	cert, _, err := (&pair{Pair: p}).open()
	if err != nil {
		return nil
	}
	return examineChain(p.Cert, cert, now)
}

func examineChain(file string, cert *tls.Certificate, now time.Time) (all []Finding) {
	for i, der := range cert.Certificate {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			continue // Check reports it
		}
		what := "the certificate"
		if i > 0 {
			what = fmt.Sprintf("the certificate of the authority %s in its chain", x.Subject)
		}
		all = append(all, examineTime(file+": "+what, x, now)...)
	}
	uses := cert.Leaf.ExtKeyUsage
	if len(uses)+len(cert.Leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(uses, x509.ExtKeyUsageServerAuth) &&
		!slices.Contains(uses, x509.ExtKeyUsageAny) {
		all = append(all, Finding{true, file + ": the certificate is not for servers (its extended key usage lacks " +
			"serverAuth), and clients refuse it"})
	}
	return all
}

// ExamineCA returns the present and coming problems of a file of authorities at a time. An expired authority is Wrong
// only if no valid one is left.
func ExamineCA(file string, now time.Time) (all []Finding) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	authorities, err := parseCertificates(data)
	if err != nil {
		return nil
	}
	valid := slices.ContainsFunc(authorities, func(x *x509.Certificate) bool {
		return !now.Before(x.NotBefore) &&
			!now.After(x.NotAfter)
	})
	for _, x := range authorities {
		for _, f := range examineTime(fmt.Sprintf("%s: the authority %s", file, x.Subject), x, now) {
			all = append(all, Finding{f.Wrong && !valid, f.Text})
		}
	}
	return all
}

// examineTime compares the validity of a certificate with a time.
func examineTime(what string, x *x509.Certificate, now time.Time) []Finding {
	left := x.NotAfter.Sub(now)
	switch {
	case left < 0:
		return []Finding{{true, fmt.Sprintf("%s expired %s ago, at %s: replace it", what, days(-left),
			x.NotAfter.UTC().Format(time.RFC3339))}}
	case now.Before(x.NotBefore):
		return []Finding{{true, fmt.Sprintf("%s is not valid before %s, %s from now: wait, replace it, or set the "+
			"clock of this machine",
			what, x.NotBefore.UTC().Format(time.RFC3339), days(x.NotBefore.Sub(now)))}}
	case left < warnBefore:
		return []Finding{{false, fmt.Sprintf("%s expires in %s, at %s: replace it", what, days(left),
			x.NotAfter.UTC().Format(time.RFC3339))}}
	}
	return nil
}

// days formats a duration for people: in days, or in smaller units if it is short.
func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); {
	case n == 1:
		return "1 day"
	case n > 1:
		return fmt.Sprintf("%d days", n)
	}
	return d.Round(time.Second).String()
}

// Covers reports whether the certificate of a pair is valid for a name or an IP address. An invalid pair covers none.
func (p Pair) Covers(name string) bool {
	cert, _, err := (&pair{Pair: p}).open()
	return err == nil && cert.Leaf.VerifyHostname(name) == nil
}

// ExamineACME returns the problems, at a time, of the certificate that the storage folder of ACME has for a name.
func ExamineACME(storage, name string, now time.Time) []Finding {
	safe := certmagic.StorageKeys.Safe(name)
	files, _ := filepath.Glob(filepath.Join(globQuote(storage), "certificates", "*", safe, safe+".crt"))
	var newest *x509.Certificate
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil // this user may not read it
		}
		if chain, err := parseCertificates(data); err == nil && (newest == nil ||
			chain[0].NotAfter.After(newest.NotAfter)) {
			newest = chain[0]
		}
	}
	if newest == nil {
		if _, err := os.ReadDir(storage); err != nil && !os.IsNotExist(err) {
			return nil
		}
		return []Finding{{false, fmt.Sprintf("%s has no certificate yet: the server obtains it while it runs, and "+
			"clients cannot connect by TLS before", name)}}
	}
	left, life := newest.NotAfter.Sub(now), newest.NotAfter.Sub(newest.NotBefore)
	switch {
	case left < 0:
		return []Finding{{true, fmt.Sprintf("the certificate of %s expired %s ago and was not renewed: the log of "+
			"the server has the reason", name, days(-left))}}
	case left < life/5: // it is renewed when a third is left
		return []Finding{{false, fmt.Sprintf("the certificate of %s expires in %s and was not renewed yet: the log "+
			"of the server has the reason", name, days(left))}}
	}
	return nil
}

// globQuote quotes a path for use in a pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// tighten removes the access of all other users of this machine to a file.
func tighten(file string) (changed bool, err error) {
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return false, err
	}
	return true, os.Chmod(file, info.Mode().Perm()&^fs.FileMode(0o077))
}
