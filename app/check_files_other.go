//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package app

func writable(string) error     { return nil }
func writableFile(string) error { return nil }
