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

// A secret is written as hss_, 43 base62 digits for 256 random bits, and 6 base62 digits for the CRC-32 of all
// characters before them. It needs no quoting in a DSN or php.ini, and secret scanners find it without false alarms.
const (
	secretPrefix = "hss_"
	randomDigits = 43
	checkDigits  = 6
	secretLen    = len(secretPrefix) + randomDigits + checkDigits

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewSecret returns a new random secret. It is shown once, to its owner; only its SecretHash is kept.
func NewSecret() string {
	var bits [32]byte
	rand.Read(bits[:]) // never fails
	s := secretPrefix + digits(new(big.Int).SetBytes(bits[:]), randomDigits)
	return s + checksum(s)
}

// checksum returns the last digits of a secret that begins with s.
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

// LooksLikeSecret reports whether s has the form and checksum of a secret, to find typing errors. It reveals
// nothing about its owner, and is not used for authentication.
func LooksLikeSecret(s string) bool {
	const checked = secretLen - checkDigits
	return len(s) == secretLen && strings.HasPrefix(s, secretPrefix) && checksum(s[:checked]) == s[checked:]
}

// SecretHash is the SHA-256 of a secret. 256 random bits need no slow hash, since they cannot be guessed. Its text
// is sha256: and 64 hex digits.
type SecretHash [sha256.Size]byte

const hashPrefix = "sha256:"

// HashSecret returns the hash of a secret.
func HashSecret(secret string) SecretHash { return sha256.Sum256([]byte(secret)) }

func (h SecretHash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// Short returns the first 8 hex digits, by which operators refer to one of an app's secrets.
func (h SecretHash) Short() string { return hex.EncodeToString(h[:4]) }

// ParseSecretHash parses the text that String returns.
func ParseSecretHash(text string) (h SecretHash, err error) {
	if LooksLikeSecret(text) {
		return h, errors.New("auth: this is the secret itself; write its hash instead")
	}
	digits, found := strings.CutPrefix(text, hashPrefix)
	b, err := hex.DecodeString(digits)
	if !found || err != nil || len(b) != len(h) {
		return h, fmt.Errorf("auth: not the hash of a secret (allowed: %s and 64 hex digits)", hashPrefix)
	}
	return SecretHash(b), nil
}
