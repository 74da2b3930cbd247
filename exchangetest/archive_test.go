package exchangetest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// brokenArchive is a memory.Archive with some methods replaced.
type brokenArchive struct {
	pipeline.Archive
	put  func(name string, data []byte) error
	get  func(name string) ([]byte, error)
	list func(prefix, after string, limit int) ([]string, error)
}

func (a *brokenArchive) Put(ctx context.Context, name string, data []byte) error {
	if a.put != nil {
		return a.put(name, data)
	}
	return a.Archive.Put(ctx, name, data)
}

func (a *brokenArchive) Get(ctx context.Context, name string) ([]byte, error) {
	if a.get != nil {
		return a.get(name)
	}
	return a.Archive.Get(ctx, name)
}

func (a *brokenArchive) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if a.list != nil {
		return a.list(prefix, after, limit)
	}
	return a.Archive.List(ctx, prefix, after, limit)
}

func breakArchive(how func(a *brokenArchive)) exchangetest.Open[pipeline.Archive] {
	return func(testing.TB) pipeline.Archive {
		a := &brokenArchive{Archive: memory.NewArchive()}
		how(a)
		return a
	}
}

// carelessArchive writes over what is there, and keeps and hands out slices.
func carelessArchive(a *brokenArchive) {
	var mu sync.Mutex
	objects := map[string][]byte{}
	a.put = func(name string, data []byte) error {
		if err := pipeline.CheckObjectName(name); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		objects[name] = data
		return nil
	}
	a.get = func(name string) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		data, ok := objects[name]
		if !ok {
			return nil, pipeline.ErrNotFound
		}
		return data, nil
	}
}

func TestBrokenArchives(t *testing.T) {
	mustFail(t, exchangetest.ArchiveCases, []broken[exchangetest.Open[pipeline.Archive]]{
		{"gives an empty object for one that is not there", breakArchive(func(a *brokenArchive) {
			a.get = func(name string) ([]byte, error) {
				data, _ := a.Archive.Get(bg, name)
				return data, nil
			}
		}), "empty"},
		{"knows no folders", breakArchive(func(a *brokenArchive) {
			last := func(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
			a.put = func(name string, data []byte) error { return a.Archive.Put(bg, last(name), data) }
			a.get = func(name string) ([]byte, error) { return a.Archive.Get(bg, last(name)) }
		}), "objects come back as they were written"},
		{"writes over what is there", breakArchive(carelessArchive), "an object is written once"},
		{"lets two writers win", breakArchive(carelessArchive), "of two objects at one name one is written"},
		{"keeps the caller's slice", breakArchive(carelessArchive), "no slice is kept"},
		{"hands out its own slice", breakArchive(func(a *brokenArchive) {
			cache := map[string][]byte{}
			a.get = func(name string) ([]byte, error) {
				if cache[name] == nil {
					cache[name], _ = a.Archive.Get(bg, name)
				}
				return cache[name], nil
			}
		}), "what is returned belongs to the caller"},
		{"climbs out of its folder", breakArchive(func(a *brokenArchive) {
			a.put = func(name string, data []byte) error {
				if strings.HasPrefix(name, "../") {
					return nil
				}
				return a.Archive.Put(bg, name, data)
			}
		}), "names are checked"},
		{"cuts objects at 5 MB", breakArchive(func(a *brokenArchive) {
			a.put = func(name string, data []byte) error {
				return a.Archive.Put(bg, name, data[:min(len(data), 5<<20)])
			}
		}), "objects above the limits of stores, and one beyond the bound"},
		{"lists the name it should come after", breakArchive(func(a *brokenArchive) {
			a.list = func(prefix, after string, limit int) ([]string, error) {
				names, err := a.Archive.List(bg, prefix, after, limit)
				if _, missing := a.Archive.Get(bg, after); missing == nil && strings.HasPrefix(after, prefix) && len(names) < limit {
					names = slices.Insert(names, 0, after)
				}
				return names, err
			}
		}), "names are listed in order, by prefix, in pages"},
		{"lists by folder, as directories come", breakArchive(func(a *brokenArchive) {
			a.list = func(prefix, after string, limit int) ([]string, error) {
				names, err := a.Archive.List(bg, prefix, after, limit)
				slices.SortFunc(names, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
				return names, err
			}
		}), "names are listed in order, by prefix, in pages"},
	})
}

func TestDurableArchives(t *testing.T) {
	open := func(testing.TB) pipeline.Archive { return memory.NewArchive() }
	exchangetest.TestDurableArchive(t, exchangetest.Durable[pipeline.Archive]{Open: open, Reopen: func(_ testing.TB, a pipeline.Archive) pipeline.Archive { return a }})
	mustFail(t, exchangetest.DurableArchiveCases, []broken[exchangetest.Durable[pipeline.Archive]]{
		{"forgets everything", exchangetest.Durable[pipeline.Archive]{Open: open, Reopen: func(t testing.TB, _ pipeline.Archive) pipeline.Archive { return open(t) }}, "objects survive"},
		{"loses what was not synced", exchangetest.Durable[pipeline.Archive]{Open: open, Reopen: func(t testing.TB, a pipeline.Archive) pipeline.Archive {
			next := open(t)
			data, err := a.Get(bg, "dir/one")
			if err = errors.Join(err, next.Put(bg, "dir/one", data[:4096]), next.Put(bg, "two", nil)); err != nil {
				t.Fatal(err)
			}
			return next
		}}, "objects survive"},
	})
}
