package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"sessionserver/storage"
)

// newID returns 128 random bits as 32 hex digits. The OWASP Session Management Cheat Sheet asks for at least 64
// bits of entropy.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// CheckID returns ErrBadID unless id is 16 to 256 bytes of visible ASCII.
func CheckID(id []byte) error {
	if len(id) < 16 || len(id) > 256 {
		return fmt.Errorf("%w: it has %d bytes (allowed: 16 to 256)", ErrBadID, len(id))
	}
	for i, c := range id {
		if c < 0x21 || c > 0x7E {
			return fmt.Errorf("%w: byte %d is not visible ASCII", ErrBadID, i+1)
		}
	}
	return nil
}

// Hash returns the hash that replaces id in the store and in logs.
func Hash(id []byte) storage.ID { return sha256.Sum256(id) }

// CheckKey returns ErrBadKey unless key is at most 256 bytes without NUL. The empty key is valid: the save handler
// of HTTP_SessionServer 0.5 keeps everything under it.
func CheckKey(key []byte) error {
	if len(key) > KeyMax {
		return fmt.Errorf("%w: it has %d bytes (allowed: up to %d)", ErrBadKey, len(key), KeyMax)
	}
	for i, c := range key {
		if c == 0 {
			return fmt.Errorf("%w: byte %d is NUL", ErrBadKey, i+1)
		}
	}
	return nil
}
