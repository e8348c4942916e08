//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package e2e

import (
	"os/exec"
	"syscall"
)

// becomeNobody makes a command run as a user without files.
func becomeNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
