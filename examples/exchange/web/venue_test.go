package web_test

import (
	"testing"

	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type bots bool

const (
	withBots    bots = true
	withoutBots bots = false
)

// startVenue runs a venue of its own for a test, on a directory of its own.
func startVenue(t *testing.T, b bots) *venue.Venue {
	t.Helper()
	v, err := venue.Start(t.Context(), venue.Config{Dir: t.TempDir(), Metrics: "off", Bots: bool(b), BotRate: 150, Seed: 7})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	return v
}
