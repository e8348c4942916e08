//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"errors"
	"os"
)

// flock answers that there is no such lock here: without it two processes could ruin each other's folder.
func flock(*os.File) error { return errors.ErrUnsupported }
