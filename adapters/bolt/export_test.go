package bolt

// Unsynced lets what follows reach the file without being synced. The page
// cache has it for every process that opens the file again, so tests that are
// not of what survives a power failure lose nothing by it.
func (s *Store) Unsynced() { s.db.NoSync = true }

// OpenHolding is Open with another bound than maxPending.
func OpenHolding(path string, opts Options, most int) (*Store, error) {
	return openWith(path, opts, most)
}

// Bounds of rows.
const (
	RowBytes = rowBytes
	LogRow   = logRow
	LogBytes = logBytes
)
