package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/internal/storebench"
)

func BenchmarkStore(b *testing.B) {
	storebench.Run(b, func(b *testing.B) storebench.Store {
		s, err := bolt.Open(filepath.Join(b.TempDir(), "venue.db"), bolt.Options{})
		require.NoError(b, err)
		return s
	})
}

func BenchmarkMemory(b *testing.B) {
	storebench.Run(b, func(b *testing.B) storebench.Store { return storebench.NewMemory() })
}
