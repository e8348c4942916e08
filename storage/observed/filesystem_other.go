//go:build !linux && !darwin && !freebsd

package observed

import "errors"

// FileSystem is not known here.
func FileSystem(string) (size, avail int64, err error) { return 0, 0, errors.ErrUnsupported }
