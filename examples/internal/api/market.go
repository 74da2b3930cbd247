package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

// product is an instrument as clients see it.
type product struct {
	Symbol      string `json:"symbol"`
	Base        string `json:"base"`
	Quote       string `json:"quote"`
	TickSize    string `json:"tick_size"`
	SizeStep    string `json:"size_step"`
	MinPrice    string `json:"min_price,omitempty"`
	MaxPrice    string `json:"max_price,omitempty"`
	MinSize     string `json:"min_size,omitempty"`
	MaxSize     string `json:"max_size,omitempty"`
	MinNotional string `json:"min_notional,omitempty"`
	MaxNotional string `json:"max_notional,omitempty"`
	MakerFee    string `json:"maker_fee"`
	TakerFee    string `json:"taker_fee"`
}

func productOf(in *exchange.Instrument) product {
	s := in.Spec()
	set := func(d decimal.Decimal) string {
		if d.IsZero() {
			return ""
		}
		return d.String()
	}
	return product{
		Symbol: s.Symbol, Base: s.Base.Code, Quote: s.Quote.Code, TickSize: s.Tick.String(), SizeStep: s.Lot.String(),
		MinPrice: set(s.MinPrice), MaxPrice: set(s.MaxPrice), MinSize: set(s.MinQty), MaxSize: set(s.MaxQty),
		MinNotional: set(s.MinNotional), MaxNotional: set(s.MaxNotional), MakerFee: s.MakerFee.String(), TakerFee: s.TakerFee.String(),
	}
}

func (a *api) products(w http.ResponseWriter, r *http.Request) error {
	if _, err := readQuery(r); err != nil {
		return err
	}
	out := []product{}
	for _, in := range a.cfg.Instruments {
		out = append(out, productOf(in))
	}
	writeJSON(w, http.StatusOK, map[string]any{"products": out})
	return nil
}

// symbol returns the instrument a path names.
func (a *api) symbol(r *http.Request) (*exchange.Instrument, error) {
	in := a.symbols[r.PathValue("symbol")]
	if in == nil {
		return nil, problem(codeNotFound, "there is no such product")
	}
	return in, nil
}

func (a *api) product(w http.ResponseWriter, r *http.Request) error {
	in, err := a.symbol(r)
	if err != nil {
		return err
	}
	if _, err := readQuery(r); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, productOf(in))
	return nil
}

// bookOrder is one order of a level 3 book.
type bookOrder struct {
	OrderID string `json:"order_id"`
	Price   string `json:"price"`
	Size    string `json:"size"`
}

func (a *api) book(w http.ResponseWriter, r *http.Request) error {
	in, err := a.symbol(r)
	if err != nil {
		return err
	}
	q, err := readQuery(r, "level", "limit")
	if err != nil {
		return err
	}
	level, err := q.number("level", 2, 1, 3)
	if err != nil {
		return err
	}
	n, err := q.limit()
	if err != nil {
		return err
	}
	if level == 1 {
		n = 1
	}
	d, err := view.Depth(r.Context(), a.cfg.Books, in)
	if err != nil {
		return err
	}
	type sides struct {
		Symbol    string `json:"symbol"`
		Seq       uint64 `json:"seq"`
		Time      string `json:"time"`
		LastPrice string `json:"last_price,omitempty"`
		Bids      any    `json:"bids"`
		Asks      any    `json:"asks"`
	}
	out := sides{Symbol: in.Symbol(), Seq: d.Seq, Time: pipeline.TimeText(d.Time)}
	if d.LastPrice != 0 {
		out.LastPrice = in.PriceDecimal(d.LastPrice).String()
	}
	if level < 3 {
		book := pipeline.FeedBookOf(in, d, n)
		out.Bids, out.Asks = book.Bids, book.Asks
	} else {
		out.Bids, out.Asks = bookOrders(in, d.BidOrders, n), bookOrders(in, d.AskOrders, n)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func bookOrders(in *exchange.Instrument, orders []pipeline.BookOrder, limit int) []bookOrder {
	orders = orders[:min(limit, len(orders))]
	out := make([]bookOrder, len(orders))
	for i, o := range orders {
		out[i] = bookOrder{pipeline.OrderIDText(in.Symbol(), o.ID), in.PriceDecimal(o.Price).String(), in.QtyDecimal(o.Qty).String()}
	}
	return out
}

func (a *api) trades(w http.ResponseWriter, r *http.Request) error {
	in, err := a.symbol(r)
	if err != nil {
		return err
	}
	q, err := readQuery(r, "limit", "before")
	if err != nil {
		return err
	}
	n, err := q.limit()
	if err != nil {
		return err
	}
	before, err := q.number("before", 0, 1, 1<<63)
	if err != nil {
		return err
	}
	if err := a.caughtUp(r, in); err != nil {
		return err
	}
	trades, err := a.cfg.Store.Trades(r.Context(), pipeline.TradeQuery{Instrument: in.ID(), Before: exchange.TradeID(before), Limit: n})
	if err != nil {
		return fmt.Errorf("listing trades: %w", err)
	}
	out := []pipeline.FeedTrade{}
	for i := range trades {
		out = append(out, pipeline.FeedTradeOf(in, &trades[i]))
	}
	writeJSON(w, http.StatusOK, map[string]any{"symbol": in.Symbol(), "trades": out})
	return nil
}

var intervals = map[string]time.Duration{
	"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "4h": 4 * time.Hour, "1d": 24 * time.Hour,
}

func (a *api) candles(w http.ResponseWriter, r *http.Request) error {
	in, err := a.symbol(r)
	if err != nil {
		return err
	}
	q, err := readQuery(r, "interval", "limit", "before")
	if err != nil {
		return err
	}
	name := q.text("interval", "1m")
	interval, ok := intervals[name]
	if !ok {
		return badField("interval", "%.64q: expected 1m, 5m, 15m, 1h, 4h or 1d", name)
	}
	n, err := q.limit()
	if err != nil {
		return err
	}
	before, err := q.time("before")
	if err != nil {
		return err
	}
	if err := a.caughtUp(r, in); err != nil {
		return err
	}
	candles, err := a.cfg.Store.Candles(r.Context(), pipeline.CandleQuery{Instrument: in.ID(), Interval: exchange.Time(interval), Before: before, Limit: n})
	if err != nil {
		return fmt.Errorf("listing candles: %w", err)
	}
	out := []pipeline.FeedCandle{}
	for i := range candles {
		out = append(out, pipeline.FeedCandleOf(in, &candles[i]))
	}
	writeJSON(w, http.StatusOK, map[string]any{"symbol": in.Symbol(), "interval": name, "candles": out})
	return nil
}

func (a *api) ticker(w http.ResponseWriter, r *http.Request) error {
	in, err := a.symbol(r)
	if err != nil {
		return err
	}
	if _, err := readQuery(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), CatchUp)
	defer cancel()
	t, err := a.cfg.Snapshots.Ticker(ctx, in)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, t)
	return nil
}

func (a *api) time(w http.ResponseWriter, r *http.Request) error {
	now := a.cfg.Now()
	writeJSON(w, http.StatusOK, map[string]any{"time": now.UTC().Format(time.RFC3339Nano), "epoch_ns": fmt.Sprint(now.UnixNano())})
	return nil
}

// instrumentHealth is how far an instrument's consumers are.
type instrumentHealth struct {
	Symbol    string `json:"symbol"`
	Committed uint64 `json:"committed"`
	Recorded  uint64 `json:"recorded"`
	Settled   uint64 `json:"settled"`
	Pushed    uint64 `json:"pushed"`
	Seq       uint64 `json:"seq"`
}

func (a *api) health(w http.ResponseWriter, r *http.Request) error {
	out := struct {
		Status      string             `json:"status"`
		Instruments []instrumentHealth `json:"instruments"`
	}{Status: "ok"}
	for _, in := range a.cfg.Instruments {
		committed, recorded, settled, err := a.cfg.Board.Stages(r.Context(), in.ID())
		if err != nil {
			return err
		}
		out.Instruments = append(out.Instruments, instrumentHealth{
			Symbol: in.Symbol(), Committed: uint64(committed.Position), Recorded: uint64(recorded.Position),
			Settled: uint64(settled.Position), Pushed: uint64(a.cfg.Pushed(in.ID())), Seq: committed.Seq,
		})
	}
	status := http.StatusOK
	if err := a.cfg.Healthy(); err != nil {
		status, out.Status = http.StatusServiceUnavailable, "failing"
	}
	writeJSON(w, status, out)
	return nil
}

func (a *api) document(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(openAPI)
	return err
}
