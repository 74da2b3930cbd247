//go:build !unix

package standin

import "syscall"

func (*owner) attr() *syscall.SysProcAttr { return nil }

// postgresOwner returns as whom PostgreSQL runs.
func postgresOwner(string) (*owner, error) { return nil, nil }
