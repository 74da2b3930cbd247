package wire

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/api"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/pipeline"
)

// nowhere is where the api function admits commands to: it only looks whether a
// request makes one.
type nowhere struct{}

func (nowhere) Handle(context.Context, pipeline.Message) error {
	return errors.New("the api admits no commands")
}

// restAPI is the REST API over the stores of AWS.
func restAPI(instruments []*exchange.Instrument, edge *Edge, at progress.Positions, trades pipeline.TradeStore, books pipeline.BookStore, balances pipeline.Balances, metrics pipeline.Metrics, logger *slog.Logger) http.Handler {
	return api.New(api.Config{
		Instruments: instruments, Edge: edge, Board: at, Store: trades, Books: books, Balances: balances,
		Snapshots: &view.Snapshots{Board: at, Store: trades, Books: books, Balances: balances, Instruments: instruments, Now: time.Now},
		Caller:    Caller, Accepts: true,
		Pushed:  func(exchange.InstrumentID) pipeline.Position { return 0 }, // the push queue knows
		Healthy: func() error { return nil },                                // whoever answers is; the alarms look at the rest
		Now:     time.Now, Metrics: metrics, Logger: logger,
	})
}
