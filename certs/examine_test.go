package certs

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

// TestExamine checks the validity of a certificate, and of all authorities in its chain, at given times.
func TestExamine(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "examined")
	cert, key := ca.issue(t, nil, 100*24*time.Hour, "examined.test")
	dir := t.TempDir()
	files := writePair(t, dir, cert, key)
	leaf, err := parseCertificates(cert)
	require.NoError(t, err)
	from, until := leaf[0].NotBefore, leaf[0].NotAfter
	chain := filepath.Join(dir, "chain")
	require.NoError(t, os.Mkdir(chain, 0o700))
	chained := writePair(t, chain, append(cert, ca.pem()...), key)
	for _, row := range []struct {
		at    time.Time
		wrong bool
		text  string // "" if there is no finding
	}{
		{from.Add(-48 * time.Hour), true, "not valid before " + from.UTC().Format(time.RFC3339) + ", 2 days from now"},
		{from, false, ""},
		{until.Add(-warnBefore), false, ""},
		{until.Add(-warnBefore + time.Hour), false, "expires in 13 days"},
		{until, false, "expires in 0s"},
		{until.Add(time.Hour), true, "expired 1h0m0s ago"},
		{until.Add(10*24*time.Hour + time.Hour), true, "expired 10 days ago"},
	} {
		got := files.Examine(row.at)
		if row.text == "" {
			if len(got) != 0 {
				t.Errorf("at %v: %v", row.at, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Wrong != row.wrong || !strings.Contains(got[0].Text, row.text) {
			t.Errorf("at %v: %v, want %q", row.at, got, row.text)
		}
	}
	authority, err := parseCertificates(ca.pem())
	require.NoError(t, err)
	if got := fmt.Sprint(chained.Examine(authority[0].NotAfter.Add(time.Hour))); !strings.Contains(got,
		"of the authority") {
		t.Errorf("an expired chain: %s", got)
	}

	// A certificate for clients alone.
	own, _, err := (&pair{Pair: files}).open()
	require.NoError(t, err)
	own.Leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if got := examineChain(files.Cert, own, from); len(got) != 1 || !got[0].Wrong || !strings.Contains(got[0].Text,
		"not for servers") {
		t.Errorf("a certificate for clients: %v", got)
	}

	// An expired authority is not wrong while another is valid.
	file, late := filepath.Join(dir, "ca.pem"), authority[0].NotAfter.Add(time.Hour)
	require.NoError(t, os.WriteFile(file, append(ca.pem(), cert...), 0o600))
	if got := ExamineCA(file, late); len(got) != 1 || got[0].Wrong {
		t.Errorf("one of two authorities has expired: %v", got)
	}
	require.NoError(t, os.WriteFile(file, ca.pem(), 0o600))
	if got := ExamineCA(file, late); len(got) != 1 || !got[0].Wrong {
		t.Errorf("all authorities have expired: %v", got)
	}

	if !files.Covers("examined.test") || files.Covers("other.test") || (Pair{Cert: "none",
		Key: "none"}).Covers("examined.test") {
		t.Error("the names that a pair covers are wrong")
	}
}
