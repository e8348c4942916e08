package opa

import (
	"fmt"

	"github.com/gobwas/glob"
)

// CheckPattern tells what is wrong with a pattern of keys, as glob.match would when it meets it: then whatever is asked with it is denied.
func CheckPattern(pattern string) error {
	if _, err := glob.Compile(pattern); err != nil || pattern == "" {
		return fmt.Errorf("policy: %.100q is no pattern of keys (such as user.*, cart.??, {seen,last_*}, *)", pattern)
	}
	return nil
}
