package bolt

// Unsynced lets what follows reach the file without being synced. The page
// cache has it for every process that opens the file again, so tests that are
// not of what survives a power failure lose nothing by it.
func (s *Store) Unsynced() { s.db.NoSync = true }

// BucketCommand is how changes name index command.
const BucketCommand = byte(bucketCommand)

// Bounds of rows.
const (
	RowBytes = rowBytes
	LogRow   = logRow
	LogBytes = logBytes
)
