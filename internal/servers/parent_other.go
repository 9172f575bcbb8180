//go:build !linux

package servers

import (
	"os/exec"
	"syscall"
)

// endWithParent has no means here: a killed test process leaves its servers behind.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{} }
