package configs

import (
	"embed"
	"io/fs"
)

//go:embed policies/default.rego policies/default_test.rego
var policies embed.FS

// DefaultPolicy returns the files of the default policy, with its tests. It applies roles and key patterns if the
// operator has no policy.
func DefaultPolicy() fs.FS {
	sub, err := fs.Sub(policies, "policies")
	if err != nil {
		panic(err)
	}
	return sub
}
