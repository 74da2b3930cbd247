package web_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/examples/aws/local/cloud"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same page trades through the pipeline on AWS, whose answer to an order is
// only that it is on its way.
func TestTwoUsersTradeOnLocalAWS(t *testing.T) {
	dir, err := os.MkdirTemp("", "exchange-page-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL, which root runs as another user, comes in
	aws, err := cloud.Start(context.Background(), cloud.Config{Dir: dir, Shards: 1, RiskInProcess: true, Logger: slog.New(slog.DiscardHandler)})
	if errors.Is(err, standin.ErrMissing) {
		exchangetest.Skip(t, exchangetest.Reason(err.Error()))
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, aws.Close()) })

	ann := open(t, "ann", aws.URL(), desk)
	ben := open(t, "ben", aws.URL(), desk)
	ann.ready()
	ben.ready()
	ann.login("1")
	ben.login("2")
	ann.balance("BTC", "1,000,000.00", "0.00")

	ann.order("sell", "64000.00", "0.5")
	ann.waitFor(`document.querySelectorAll('#open-orders tr').length === 1`)
	ann.waitFor(`document.querySelector('#asks .lv.own .px')?.textContent === '64,000.00'`)

	ben.waitLevel("asks", "64,000.00", "0.5000")
	ben.clickLevel("asks", "64,000.00")
	ben.fill("#ticket-size", "0.2")
	ben.click("#submit")
	for _, p := range []*page{ann, ben} {
		p.waitLevel("asks", "64,000.00", "0.3000")
		p.waitText("#t-last", "64,000.00")
		p.waitRow("#tape", "bought at 64,000.00 / 0.2000")
	}
	ann.balance("USD", "1,000,012,793.60", "0.00")
	ann.balance("BTC", "999,999.50", "0.30")
	ben.balance("USD", "999,987,187.20", "0.00")
	ben.balance("BTC", "1,000,000.20", "0.00")
}
