//go:build unix

package standin

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// attr returns how a command is started as that user.
func (o *owner) attr() *syscall.SysProcAttr {
	if o == nil {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
}

// postgresOwner returns as whom PostgreSQL runs in dir.
func postgresOwner(dir string) (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, missing("the user postgres", "apt-get install postgresql")
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return nil, err
		}
		if stat := info.Sys().(*syscall.Stat_t); info.Mode().Perm()&0o001 == 0 && int(stat.Uid) != uid {
			return nil, fmt.Errorf("the user postgres cannot enter %s (%v), and PostgreSQL does not run as root: choose a directory that is open to all", at, info.Mode())
		}
		if filepath.Dir(at) == at {
			return &owner{uid, gid}, nil
		}
	}
}
