package bolt_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/internal/storetest"
)

func openIn(dir string) (storetest.Store, error) {
	return bolt.Open(filepath.Join(dir, "venue.db"), bolt.Options{})
}

// openHolding opens a store of which hardly anything is pending, so that rows
// are moved all the time.
func openHolding(most int) storetest.Open {
	return func(dir string) (storetest.Store, error) {
		return bolt.Open(filepath.Join(dir, "venue.db"), bolt.Options{Pending: most})
	}
}

// The process that is killed has moved rows long before.
func TestMain(m *testing.M) { storetest.Main(m, openHolding(40)) }

func TestSuites(t *testing.T) {
	storetest.TestSuites(t, openIn)
	for _, most := range []int{1, 7} {
		t.Run(fmt.Sprintf("%d pending", most), func(t *testing.T) { storetest.TestTradeStores(t, openHolding(most)) })
	}
}

// Killed with SIGKILL in the middle of load, and while it opens the file, a
// store has everything it has confirmed.
func TestKill(t *testing.T) { storetest.TestKill(t, openHolding(25), 20) }

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Store {
		s, err := openIn(b.TempDir())
		require.NoError(b, err)
		return s
	})
}

func BenchmarkMemory(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Store { return storetest.NewMemory() })
}
