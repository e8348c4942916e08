//go:build !unix

package app

// allowedDescriptors is how many file descriptors the system allows this process; 0 is unknown.
func allowedDescriptors() int { return 0 }
