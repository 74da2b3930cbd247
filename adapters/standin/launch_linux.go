package standin

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// launches are commands to start. They are started by one thread that lives as
// long as this process: the kernel sends the signal of Pdeathsig when the
// thread that started the child ends.
var launches = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

// launch starts a command that the kernel kills when this process ends,
// however it ends.
func launch(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	launches() <- func() { started <- cmd.Start() }
	return <-started
}
