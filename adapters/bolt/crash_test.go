package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/internal/crashtest"
)

func openCrashed(dir string) (crashtest.Store, error) {
	return bolt.Open(filepath.Join(dir, "venue.db"), bolt.Options{})
}

func TestMain(m *testing.M) { crashtest.Main(m, openCrashed) }

// Killed with SIGKILL in the middle of load, and while it opens the file, a
// store has everything it has confirmed.
func TestKill(t *testing.T) { crashtest.Run(t, openCrashed, 30) }
