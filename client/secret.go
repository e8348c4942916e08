package client

import (
	"fmt"
	"log/slog"
)

// concealed is the text printed in place of a secret.
const concealed = "xxxxx"

// Secret is a string that fmt with any verb, slog and encoding/json print as xxxxx, also inside other structs.
type Secret struct {
	reveal func() string // a func, since fmt prints a string in an unexported field without calling any method
}

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// Reveal returns the secret itself, or "" if there is none.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.reveal == nil }

// String returns xxxxx, or "" for an empty secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return concealed
}

// Format writes the result of String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue returns the string that slog records.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the text of String for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
