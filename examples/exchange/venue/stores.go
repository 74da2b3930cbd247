package venue

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/pipeline"
)

// stores are what the venue keeps: all that outlives the process.
type stores struct {
	journal  pipeline.Journal
	balances pipeline.Balances
	trades   pipeline.TradeStore
	archive  pipeline.Archive
	close    func() error
}

// openStores opens what is in a data directory, which one process at a time
// may do.
func openStores(dir string) (*stores, error) {
	db, err := bolt.Open(filepath.Join(dir, DatabaseFile), bolt.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening the data: %w", err)
	}
	archive, err := files.Open(filepath.Join(dir, ArchiveDir))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the archive: %w", err), db.Close())
	}
	return &stores{journal: db.Journal(), balances: db.Balances(), trades: db.TradeStore(), archive: archive, close: db.Close}, nil
}
