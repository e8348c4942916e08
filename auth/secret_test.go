package auth

import (
	"regexp"
	"strings"
	"testing"
)

func TestNewSecret(t *testing.T) {
	form := regexp.MustCompile(`^hss_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$`)
	secrets := make(map[string]bool)
	for range 1000 {
		s := NewSecret()
		if !form.MatchString(s) || !LooksLikeSecret(s) || secrets[s] {
			t.Fatalf("NewSecret = %q: right form: %t, LooksLikeSecret: %t, duplicate: %t",
				s, form.MatchString(s), LooksLikeSecret(s), secrets[s])
		}
		secrets[s] = true
	}
}

// TestChecksum: the checksum is CRC-32 (IEEE) in base62, as other secret scanners compute it.
func TestChecksum(t *testing.T) {
	s := "hss_" + strings.Repeat("0", 43)
	if got := s + checksum(s); got != "hss_"+strings.Repeat("0", 43)+"0O4KIz" {
		t.Errorf("secret with checksum = %q", got)
	}
}

func TestLooksLikeSecret(t *testing.T) {
	s := NewSecret()
	for _, text := range []string{
		"", "hss_", s[:len(s)-1], s + "0", strings.ToUpper(s), "xss_" + s[4:], s[:10] + "-" + s[11:],
		HashSecret(s).String(), " " + s,
	} {
		if LooksLikeSecret(text) {
			t.Errorf("LooksLikeSecret(%q) = true", text)
		}
	}
	for i := len("hss_"); i < len(s); i++ { // any wrong digit is found
		other := byte('0')
		if s[i] == other {
			other = '1'
		}
		if typo := s[:i] + string(other) + s[i+1:]; LooksLikeSecret(typo) {
			t.Errorf("LooksLikeSecret(%q) = true", typo)
		}
	}
}

func TestSecretHash(t *testing.T) {
	s := NewSecret()
	h := HashSecret(s)
	again, err := ParseSecretHash(h.String())
	if err != nil || again != h {
		t.Errorf("ParseSecretHash(%q) = %v, %v", h, again, err)
	}
	if !strings.HasPrefix(h.String(), "sha256:"+h.Short()) || len(h.Short()) != 8 {
		t.Errorf("Short = %q of %q", h.Short(), h)
	}
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if got := HashSecret("abc").String(); got != abc {
		t.Errorf("HashSecret(abc) = %q, want %q", got, abc)
	}
	for _, text := range []string{
		"", s, "sha256:", h.String()[7:], h.String() + "00", h.String()[:len(h.String())-1], "sha512:" + h.String()[7:],
		"sha256:" + strings.Repeat("x", 64),
	} {
		got, err := ParseSecretHash(text)
		if err == nil || got != (SecretHash{}) || strings.Contains(err.Error(), s[4:]) {
			t.Errorf("ParseSecretHash(%q) = %v, %v, want an error without the secret", text, got, err)
		}
	}
	if _, err := ParseSecretHash(s); err == nil || !strings.Contains(err.Error(), "the secret itself") {
		t.Errorf("ParseSecretHash of a secret: error = %v", err)
	}
}
