package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sessionserver/certs"
	"sessionserver/configs"
)

// checkBundleFiles reports each mistake in the files that a bundle of policies needs, and returns their number.
func checkBundleFiles(b configs.Bundle, report func(key string, err error)) (wrong int) {
	check := func(key string, err error) {
		if err != nil {
			wrong++
			report("policy.bundle."+key, err)
		}
	}
	_, err := bundleKey(b)
	check("key_file", err)
	if b.CARoots != "" {
		check("ca_roots", certs.CheckCA(b.CARoots))
	}
	if b.TokenFile != "" {
		_, err := readToken(b.TokenFile)
		check("token_file", err)
	}
	return wrong
}

// usable returns an error if this user can neither use the folder nor create it. A note is about something unusual.
func usable(path string) (note string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := 0
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			if _, err := os.Lstat(at); err == nil {
				return "", fmt.Errorf("%s is a link to nothing: remove it or create its target", at)
			}
			missing++
			continue
		}
		what := fmt.Sprintf("%s cannot be used", path)
		if missing > 0 {
			what = fmt.Sprintf("%s does not exist and cannot be created", path)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("%s: %w", what, err)
		case !info.IsDir():
			return "", fmt.Errorf("%s: %s is not a folder: name another path", what, at)
		}
		if err := writable(at); err != nil {
			return "", fmt.Errorf("%s: %s is not writable for user %d, who checks; check as the user that the server "+
				"runs as (%w)", what, at, os.Getuid(), err)
		}
		if missing > 1 {
			note = fmt.Sprintf("neither %s nor the folder around it exists: the server creates both", path)
		}
		return note, nil
	}
}
