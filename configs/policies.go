package configs

import (
	"embed"
	"io/fs"
)

//go:embed policies/default.rego policies/default_test.rego
var policies embed.FS

// DefaultPolicy has the files of the policy that decides where the operator has none, with its tests: roles, and patterns of keys.
func DefaultPolicy() fs.FS {
	sub, err := fs.Sub(policies, "policies")
	if err != nil {
		panic(err)
	}
	return sub
}
