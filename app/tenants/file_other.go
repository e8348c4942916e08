//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package tenants

import (
	"io/fs"
	"os"
)

func inode(fs.FileInfo) uint64 { return 0 }

func links(fs.FileInfo) uint64 { return 1 }

func sameOwner(*os.File, fs.FileInfo) error { return nil }

func flock(*os.File) (free bool, err error) { return true, nil }

func flockShared(*os.File) (free bool, err error) { return true, nil }
