package servers

import (
	"os/exec"
	"syscall"
)

// endWithParent lets the server die with a test process that is killed itself, so that none is left behind.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
