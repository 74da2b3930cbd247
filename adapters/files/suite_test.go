package files_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// An archive does what package pipeline says of every one, and what was put
// into it is still there when the directory is opened again.
func TestSuites(t *testing.T) {
	var dir string
	start := func(t testing.TB) pipeline.Archive {
		t.Helper()
		a, err := files.Open(dir)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, a.Close()) })
		return a
	}
	h := exchangetest.Durable[pipeline.Archive]{
		Open: func(t testing.TB) pipeline.Archive {
			dir = t.TempDir()
			return start(t)
		},
		Reopen: func(t testing.TB, a pipeline.Archive) pipeline.Archive {
			require.NoError(t, a.(*files.Archive).Close())
			return start(t)
		},
	}
	exchangetest.TestArchive(t, h.Open)
	exchangetest.TestDurableArchive(t, h)
}
