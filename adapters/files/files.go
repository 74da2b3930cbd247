// Package files is a pipeline.Archive in a directory.
//
// # Layout
//
// An object is a file of its own, its slash-separated name the path, but that
// the name of every directory ends in "+", which no object's name contains: so
// the objects "a" and "a/b" can both be there. A name of MaxNameBytes without a
// slash, one byte more than file systems take, is cut in two.
//
//	trades/BTC-USD/000017.csv  ->  DIR/trades+/BTC-USD+/000017.csv
//	+temporary                     what is being written; Open empties it
//
// # What it promises
//
// An object appears whole and durable, or not at all: it is written under a
// temporary name, synced, given its name, and then the directories up to the
// root are synced. The name is given by a hard link, which, unlike a rename,
// fails when the name is taken: of two that put different bytes under one name
// at the same time, in this process or another, one gets ErrConflict. No name
// leads out of the directory, nor does a symbolic link in it (os.Root).
//
// The file system must have hard links and tell upper from lower case. One
// process at a time should use a directory: what another is putting in the
// very moment one opens it may fail, and is then to be repeated.
package files

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/castlecloud/exchange/pipeline"
)

// Archive implements pipeline.Archive. It is safe for concurrent use.
type Archive struct{ root *os.Root }

var _ pipeline.Archive = (*Archive)(nil)

const (
	temporary = "+temporary"
	dirMark   = "+"
	cutMark   = "++" // ends the directory that is the first part of a cut name
	cutAt     = pipeline.MaxNameBytes / 2
)

// Open returns the archive in a directory, which it makes when it is not
// there, and removes what an earlier process did not finish.
func Open(dir string) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening archive: %w", err)
	}
	if err := errors.Join(root.RemoveAll(temporary), root.Mkdir(temporary, 0o755)); err != nil {
		return nil, fmt.Errorf("opening archive: %w", errors.Join(err, root.Close()))
	}
	return &Archive{root}, nil
}

// Close gives the directory back. Calls after it fail.
func (a *Archive) Close() error { return a.root.Close() }

// pathOf returns where an object lies.
func pathOf(name string) string {
	if len(name) == pipeline.MaxNameBytes && !strings.Contains(name, "/") {
		return name[:cutAt] + cutMark + "/" + name[cutAt:]
	}
	return strings.ReplaceAll(name, "/", dirMark+"/")
}

// Put implements pipeline.Archive.
func (a *Archive) Put(ctx context.Context, name string, data []byte) error {
	if err := pipeline.CheckObjectName(name); err != nil {
		return fmt.Errorf("archiving: %w", err)
	}
	if len(data) > pipeline.MaxObjectBytes {
		return fmt.Errorf("archiving %s: %w: %d bytes, expected at most %d", name, pipeline.ErrTooLarge, len(data), pipeline.MaxObjectBytes)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("archiving %s: %w", name, err)
	}
	if err := a.put(pathOf(name), data); err != nil {
		return fmt.Errorf("archiving %s: %w", name, err)
	}
	return nil
}

func (a *Archive) put(at string, data []byte) error {
	if found, err := a.same(at, data); err != nil {
		return err
	} else if found {
		// Whoever put it may not have got as far as this.
		return a.syncAbove(at)
	}
	temp := temporary + "/" + rand.Text()
	err := a.write(temp, data)
	if err == nil {
		err = a.name(temp, at, data)
	}
	if gone := a.root.Remove(temp); err == nil && gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	return err
}

// name gives a file its name, durably.
func (a *Archive) name(temp, at string, data []byte) error {
	if err := a.root.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	err := a.root.Link(temp, at)
	if errors.Is(err, fs.ErrExist) {
		_, err = a.same(at, data) // somebody was faster
	}
	if err != nil {
		return err
	}
	return a.syncAbove(at)
}

// write makes a file durable, but not its name.
func (a *Archive) write(name string, data []byte) error {
	f, err := a.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// same reports whether the file is there with these bytes; ErrConflict: with
// others.
func (a *Archive) same(at string, data []byte) (bool, error) {
	f, err := a.root.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if !bytes.HasPrefix(data, buf[:n]) || err == io.EOF && len(data) > n {
			return false, pipeline.ErrConflict
		}
		data = data[n:]
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// syncAbove makes the name of a file durable, and of the directories it lies
// in.
func (a *Archive) syncAbove(at string) error {
	if runtime.GOOS == "windows" {
		return nil // has no such thing: names are journaled
	}
	for at != "." {
		at = path.Dir(at)
		d, err := a.root.Open(at)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Get implements pipeline.Archive.
func (a *Archive) Get(_ context.Context, name string) ([]byte, error) {
	if err := pipeline.CheckObjectName(name); err != nil {
		return nil, fmt.Errorf("reading from the archive: %w", err)
	}
	data, err := a.root.ReadFile(pathOf(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("archived object %s: %w", name, pipeline.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("archived object %s: %w", name, err)
	}
	return data, nil
}

// List implements pipeline.Archive. It reads the directories that can hold
// such names, each as a whole.
func (a *Archive) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return nil, fmt.Errorf("listing the archive: %w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	l := lister{ctx: ctx, root: a.root, prefix: prefix, after: after, limit: limit}
	if err := l.walk(".", ""); err != nil {
		return nil, fmt.Errorf("listing the archive: %w", err)
	}
	return l.names, nil
}

type lister struct {
	ctx           context.Context
	root          *os.Root
	prefix, after string
	limit         int
	names         []string
}

// found is an entry of a directory; a directory is sorted as what the names of
// all in it begin with.
type found struct{ name, dir string }

// walk appends the objects in a directory, all of whose names begin with
// front, in order.
func (l *lister) walk(dir, front string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	all, err := l.entries(nil, dir, front)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y found) int { return strings.Compare(x.name, y.name) })
	for _, f := range all {
		if len(l.names) == l.limit {
			return nil
		}
		if f.dir == "" {
			if f.name > l.after && strings.HasPrefix(f.name, l.prefix) {
				l.names = append(l.names, f.name)
			}
			continue
		}
		reaches := strings.HasPrefix(f.name, l.prefix) || strings.HasPrefix(l.prefix, f.name)
		if reaches && (f.name > l.after || strings.HasPrefix(l.after, f.name)) {
			if err := l.walk(f.dir, f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries appends what is in a directory to all. What a cut name begins with
// is no directory of the archive's: what is in it counts as beside it.
func (l *lister) entries(all []found, dir, front string) ([]found, error) {
	d, err := l.root.Open(dir)
	if err != nil {
		return nil, err
	}
	entries, err := d.ReadDir(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		if first, cut := strings.CutSuffix(e.Name(), cutMark); cut && e.IsDir() {
			if all, err = l.entries(all, at, front+first); err != nil {
				return nil, err
			}
		} else if part, marked := strings.CutSuffix(e.Name(), dirMark); marked && e.IsDir() {
			all = append(all, found{front + part + "/", at})
		} else if !e.IsDir() {
			all = append(all, found{name: front + e.Name()})
		}
	}
	return all, nil
}
