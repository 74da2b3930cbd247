package main

import (
	"strings"
	"testing"

	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The venue itself, with its bots: everything that is accepted is measured at
// every stage, and nothing of the load is left behind.
func TestAgainstTheVenue(t *testing.T) {
	var out string
	for range 3 { // a machine that stands still for longer than the venue waits shows nothing
		out = loadVenue(t)
		if !strings.Contains(out, "504:timeout") && !strings.Contains(out, "no_answer") {
			break
		}
	}
	t.Log(out)
	assert.Contains(t, out, "10 accounts, 3 instruments")
	assert.Contains(t, out, "refused by the engine: none\nerrors: none\n")
	assert.NotContains(t, out, "may still rest")
	assert.Equal(t, 100.0, number(t, out, `, (\d+) accepted`))
	traded := number(t, out, `, (\d+) took and traded`)
	assert.Greater(t, traded, 10.0)
	assert.Equal(t, traded, number(t, out, `(?m)^matched +(\d+) `))
	assert.Equal(t, traded, number(t, out, `(?m)^pushed +(\d+) `))
}

func loadVenue(t *testing.T) string {
	t.Helper()
	v, err := venue.Start(t.Context(), venue.Config{Dir: t.TempDir(), Bots: true, BotRate: 20, Seed: 1, Rate: 10_000})
	require.NoError(t, err)
	defer func() { assert.NoError(t, v.Close()) }()
	out, errs, status := loaded(t, "-url", v.URL(), "-rate", "50", "-duration", "2s", "-open", "20",
		"-symbols", "BTC-USD=3,ETH-USD=2,ETH-BTC=1", "-mid", "BTC-USD=64000,ETH-USD=3200,ETH-BTC=0.05")
	require.Equal(t, 0, status, errs)
	return out
}
