package cloud

import (
	"os"
	"testing"

	"github.com/castlecloud/exchange/examples/aws/internal/build"
	"github.com/stretchr/testify/require"
)

func binaries(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("EXCHANGE_FUNCTIONS"); dir != "" {
		return dir // compiled by hand, for who tests again and again
	}
	compiled.once.Do(func() {
		if compiled.dir, compiled.err = os.MkdirTemp("", "exchange-functions-"); compiled.err == nil {
			compiled.err = build.Compile(t.Context(), compiled.dir, "", functionNames()...)
		}
	})
	require.NoError(t, compiled.err)
	return compiled.dir
}
