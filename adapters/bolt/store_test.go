package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/internal/storetest"
)

func openIn(dir string) (storetest.Store, error) {
	return bolt.Open(filepath.Join(dir, "venue.db"), bolt.Options{})
}

func TestMain(m *testing.M) { storetest.Main(m, openIn) }

func TestSuites(t *testing.T) { storetest.TestSuites(t, openIn) }

// Killed with SIGKILL in the middle of load, and while it opens the file, a
// store has everything it has confirmed.
func TestKill(t *testing.T) { storetest.TestKill(t, openIn, 20) }

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
