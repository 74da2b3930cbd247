//go:build !linux

package standin

import (
	"io"
	"os/exec"
)

// launch starts a command. Only Linux ends it with this process when that is
// killed; elsewhere it has to be stopped.
func launch(cmd *exec.Cmd) error { return cmd.Start() }

// reserve returns an address that nobody uses at the moment. Only Linux keeps
// it so.
func reserve() (addr string, until io.Closer, err error) {
	addr, err = FreeAddr()
	return addr, nil, err
}
