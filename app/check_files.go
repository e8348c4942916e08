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

// checkBundleFiles reports what is wrong with the files that a bundle of policies is loaded with, and how many.
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

// usable answers why the server, as this user, could not use a folder or make it with those around it, or what is odd about that.
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
				return "", fmt.Errorf("%s is a link to nothing", at)
			}
			missing++
			continue
		}
		what := fmt.Sprintf("%s cannot be used", path)
		if missing > 0 {
			what = fmt.Sprintf("%s is not there and cannot be made", path)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("%s: %w", what, err)
		case !info.IsDir():
			return "", fmt.Errorf("%s: %s is no folder", what, at)
		}
		if err := writable(at); err != nil {
			return "", fmt.Errorf("%s: %s is not writable for user %d, who checks; check as the user that the server runs as (%w)", what, at, os.Getuid(), err)
		}
		if missing > 1 {
			note = fmt.Sprintf("%s is not there, nor is the folder that it lies in: the server makes both", path)
		}
		return note, nil
	}
}
