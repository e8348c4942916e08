package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// A secret is written hss_, 43 base62 digits, which are 256 random bits, and 6 base62 digits of the CRC-32 of all before them: it fits a
// DSN and php.ini as it is, and scanners for secrets find it without false alarms.
const (
	secretPrefix = "hss_"
	randomDigits = 43
	checkDigits  = 6
	secretLen    = len(secretPrefix) + randomDigits + checkDigits

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewSecret mints a secret. It is shown once, to whom it is for; what is kept is its SecretHash.
func NewSecret() string {
	var bits [32]byte
	rand.Read(bits[:]) // it never fails
	s := secretPrefix + digits(new(big.Int).SetBytes(bits[:]), randomDigits)
	return s + checksum(s)
}

// checksum is what the last digits of a secret are that begins with s.
func checksum(s string) string {
	return digits(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), checkDigits)
}

func digits(n *big.Int, count int) string {
	out := make([]byte, count)
	base, rest := big.NewInt(int64(len(base62))), new(big.Int)
	for i := count - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = base62[rest.Int64()]
	}
	return string(out)
}

// LooksLikeSecret reports whether s has the form of a secret and its digits agree. It says nothing about whose it is: that is for people who
// mistyped one, and never asked when somebody authenticates.
func LooksLikeSecret(s string) bool {
	return len(s) == secretLen && strings.HasPrefix(s, secretPrefix) && checksum(s[:secretLen-checkDigits]) == s[secretLen-checkDigits:]
}

// SecretHash is the SHA-256 of a secret: 256 random bits need no slow hash, for nobody can try them all. Its text is sha256: and 64 hex
// digits.
type SecretHash [sha256.Size]byte

const hashPrefix = "sha256:"

// HashSecret hashes a secret as it is kept.
func HashSecret(secret string) SecretHash { return sha256.Sum256([]byte(secret)) }

func (h SecretHash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// Short are the first 8 hex digits, by which people name one of an app's secrets.
func (h SecretHash) Short() string { return hex.EncodeToString(h[:4]) }

// ParseSecretHash reads what String writes.
func ParseSecretHash(text string) (h SecretHash, err error) {
	if LooksLikeSecret(text) {
		return h, errors.New("auth: this is the secret itself (allowed: its hash only)")
	}
	digits, found := strings.CutPrefix(text, hashPrefix)
	b, err := hex.DecodeString(digits)
	if !found || err != nil || len(b) != len(h) {
		return h, fmt.Errorf("auth: this is no hash of a secret (allowed: %s and 64 hex digits)", hashPrefix)
	}
	return SecretHash(b), nil
}
