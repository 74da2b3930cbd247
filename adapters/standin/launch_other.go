//go:build !linux

package standin

import "os/exec"

// launch starts a command. Only Linux ends it with this process when that is
// killed; elsewhere it has to be stopped.
func launch(cmd *exec.Cmd) error { return cmd.Start() }
