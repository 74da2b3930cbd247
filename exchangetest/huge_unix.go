//go:build unix

package exchangetest

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// huge returns n bytes of zeros that take no memory as long as nobody reads
// them: enough to see that something is refused by its length.
func huge(t testing.TB, n int) []byte {
	t.Helper()
	data, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err, "mapping %d bytes", n)
	t.Cleanup(func() {
		if err := syscall.Munmap(data); err != nil {
			t.Errorf("unmapping: %v", err)
		}
	})
	return data
}
