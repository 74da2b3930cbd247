package memory

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/castlecloud/exchange/pipeline"
)

// MaxArchiveBytes is how much an Archive holds, names included, in bytes; then
// ErrFull.
const MaxArchiveBytes = 1 << 32

// Archive is a pipeline.Archive.
type Archive struct {
	mu      sync.RWMutex
	objects *btree.Map[string, []byte]
	size    int64
	most    int64
}

// NewArchive returns an empty archive.
func NewArchive() *Archive {
	return &Archive{objects: btree.NewMap[string, []byte](0), most: MaxArchiveBytes}
}

// Put implements pipeline.Archive.
func (a *Archive) Put(_ context.Context, name string, data []byte) error {
	if err := pipeline.CheckObjectName(name); err != nil {
		return fmt.Errorf("archiving: %w", err)
	}
	if len(data) > pipeline.MaxObjectBytes {
		return fmt.Errorf("archiving %s: %w: %d bytes, expected at most %d", name, pipeline.ErrTooLarge, len(data), pipeline.MaxObjectBytes)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.objects.Get(name); ok {
		if !bytes.Equal(old, data) {
			return fmt.Errorf("archiving %s: %w", name, pipeline.ErrConflict)
		}
		return nil
	}
	if size := a.size + int64(len(name)+len(data)); size > a.most {
		return fmt.Errorf("archiving %s: %w: %d bytes, at most %d", name, pipeline.ErrFull, size, a.most)
	}
	a.size += int64(len(name) + len(data))
	a.objects.Set(name, kept(data))
	return nil
}

// Get implements pipeline.Archive.
func (a *Archive) Get(_ context.Context, name string) ([]byte, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	data, ok := a.objects.Get(name)
	if !ok {
		return nil, fmt.Errorf("object %q: %w", name, pipeline.ErrNotFound)
	}
	return kept(data), nil
}

// List implements pipeline.Archive.
func (a *Archive) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("listing objects: %w", err)
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []string
	a.objects.Ascend(max(prefix, after), func(name string, _ []byte) bool {
		if !strings.HasPrefix(name, prefix) || len(out) == limit {
			return false
		}
		if name > after {
			out = append(out, name)
		}
		return true
	})
	return out, nil
}
