//go:build !linux && !darwin && !freebsd

package observed

import "errors"

// FileSystem returns errors.ErrUnsupported on this operating system.
func FileSystem(string) (size, avail int64, err error) { return 0, 0, errors.ErrUnsupported }
