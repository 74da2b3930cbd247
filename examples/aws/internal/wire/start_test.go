package wire

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the environment says of memory counts; otherwise garbage may pile up to
// what the function has.
func TestTuneMemory(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer debug.SetGCPercent(percent)
	defer debug.SetMemoryLimit(limit)
	for _, tc := range []struct {
		env     map[string]string
		percent int
		limit   int64
	}{
		{map[string]string{"GOGC": "100", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, 100, limit},
		{map[string]string{}, gcPercent, limit},
		{map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "100"}, gcPercent, 80 << 20},
		{map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "100", "GOMEMLIMIT": "1GiB"}, gcPercent, limit},
		{map[string]string{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "none"}, gcPercent, limit},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(limit)
		tuneMemory(func(name string) string { return tc.env[name] })
		require.Equal(t, tc.percent, debug.SetGCPercent(100), "%v", tc.env)
		require.InDelta(t, tc.limit, debug.SetMemoryLimit(-1), float64(tc.limit)/100, "%v", tc.env)
	}
}
