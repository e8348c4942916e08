package client

import (
	"fmt"
	"log/slog"
)

// concealed stands for a secret wherever one would be shown.
const concealed = "xxxxx"

// Secret is a secret that does not show itself: fmt with any verb, slog, encoding/json and the like print xxxxx, also
// when they come upon it deep inside another struct.
type Secret struct {
	reveal func() string // not a string, which printing an unexported field would show without asking any method
}

// NewSecret conceals s.
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

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.reveal == nil }

// String returns xxxxx, or "" if there is no secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return concealed
}

// Format writes what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue is what slog sees.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is what encoders see.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
