//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package app

import "golang.org/x/sys/unix"

// writable returns an error if this user cannot create files in a folder.
func writable(folder string) error { return unix.Access(folder, unix.W_OK|unix.X_OK) }

// writableFile returns an error if this user cannot write a file.
func writableFile(path string) error { return unix.Access(path, unix.R_OK|unix.W_OK) }
