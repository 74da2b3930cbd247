package standin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Postgres starts a PostgreSQL whose user postgres needs no password. Its data
// lies in dir/data, made when it is not there. PostgreSQL does not run as root:
// for root it runs as the user postgres, which must be able to enter dir.
func Postgres(ctx context.Context, dir string) (*Server, error) {
	return begin(ctx, dir, part{name: "postgres", scheme: "postgres", user: "postgres@", suffix: "/postgres?sslmode=disable",
		probe: probePostgres, stop: syscall.SIGINT, command: func(s *Server) (*exec.Cmd, error) {
			bin, err := postgresBin()
			if err != nil {
				return nil, err
			}
			as, err := postgresOwner(s.Dir)
			if err != nil {
				return nil, err
			}
			data := filepath.Join(s.Dir, "data")
			if err := initdb(ctx, bin, data, as); err != nil {
				return nil, err
			}
			cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(s.Port()),
				"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
			cmd.Dir, cmd.SysProcAttr = s.Dir, as.attr()
			return cmd, nil
		}})
}

// postgresBin returns where PostgreSQL's programs are: on PATH, or where Debian
// puts them, the newest version.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "initdb")); err == nil {
				return filepath.Dir(path), nil
			}
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is good
	if len(found) == 0 {
		return "", missing("postgres", "apt-get install postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// owner is the user that PostgreSQL runs as instead of root; nil: the one who
// runs this.
type owner struct{ uid, gid int }

// initdb makes a database cluster, unless it is there. It is made under
// another name first: one that was interrupted is never mistaken for whole.
func initdb(ctx context.Context, bin, data string, as *owner) error {
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := data + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if as != nil {
		if err := os.Chown(unfinished, as.uid, as.gid); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", unfinished, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = filepath.Dir(data), as.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w:\n%s", err, out)
	}
	return os.Rename(unfinished, data)
}
