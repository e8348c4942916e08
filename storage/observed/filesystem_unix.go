//go:build linux || darwin || freebsd

package observed

import "syscall"

// FileSystem returns the size of the file system that contains folder, and the space available to this process, in
// bytes.
func FileSystem(folder string) (size, avail int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}
