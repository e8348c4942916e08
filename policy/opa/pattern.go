package opa

import (
	"fmt"

	"github.com/gobwas/glob"
)

// CheckPattern returns an error for an invalid pattern of keys. glob.match fails on such a pattern, so every
// operation that is matched with it is denied.
func CheckPattern(pattern string) error {
	if _, err := glob.Compile(pattern); err != nil || pattern == "" {
		return fmt.Errorf("policy: invalid key pattern %.100q (examples: user.*, cart.??, {seen,last_*}, *)", pattern)
	}
	return nil
}
