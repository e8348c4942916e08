//go:build !unix

package app

// allowedDescriptors returns the number of file descriptors that the system allows this process; 0 is unknown.
func allowedDescriptors() int { return 0 }
