package standin

import (
	"fmt"
	"io"
	"net"
	"os"
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

// reserve returns an address that nobody uses, and what keeps it so until it is
// closed, or nobody has it any more: a socket that is bound to it and does not
// listen. Nobody who asks for any free port gets this one. A program that is
// given it listens there all the same, because it sets SO_REUSEADDR, as servers
// do.
func reserve() (addr string, until io.Closer, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("looking for a free port: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "reserved port")
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		socket.Close()
		return "", nil, fmt.Errorf("looking for a free port: %w", err)
	}
	four := at.(*syscall.SockaddrInet4)
	return (&net.TCPAddr{IP: four.Addr[:], Port: four.Port}).String(), socket, nil
}
