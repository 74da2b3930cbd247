package wire

import (
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/stretchr/testify/require"
)

func testInstruments(t testing.TB) []*exchange.Instrument {
	t.Helper()
	instruments, err := config.Instruments()
	require.NoError(t, err)
	return instruments
}
