package reference_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
	"github.com/shopspring/decimal"
)

const (
	base  exchange.AssetID = 1
	quote exchange.AssetID = 2

	buy, sell = exchange.Buy, exchange.Sell
)

// instrument has a tick and a lot of one, so that a notional is price ×
// quantity; change may change the specification.
func instrument(t *testing.T, id exchange.InstrumentID, change ...func(*exchange.InstrumentSpec)) *exchange.Instrument {
	t.Helper()
	spec := exchange.InstrumentSpec{ID: id, Symbol: fmt.Sprint("B-Q-", id),
		Base: exchange.Asset{ID: base, Code: "B"}, Quote: exchange.Asset{ID: quote, Code: "Q"},
		Tick: decimal.NewFromInt(1), Lot: decimal.NewFromInt(1)}
	for _, f := range change {
		f(&spec)
	}
	inst, err := exchange.NewInstrument(spec)
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

func fees(maker, taker string) func(*exchange.InstrumentSpec) {
	return func(s *exchange.InstrumentSpec) {
		s.MakerFee, s.TakerFee = decimal.RequireFromString(maker), decimal.RequireFromString(taker)
	}
}

func limit(acct exchange.AccountID, side exchange.Side, px exchange.Price, qty exchange.Qty, change ...func(*exchange.Command)) exchange.Command {
	return changed(exchange.LimitOrder(1, acct, side, px, qty), change...)
}

func changed(c exchange.Command, change ...func(*exchange.Command)) exchange.Command {
	for _, f := range change {
		f(&c)
	}
	return c
}

func tif(v exchange.TimeInForce) func(*exchange.Command) {
	return func(c *exchange.Command) { c.TimeInForce = v }
}

func stp(v exchange.SelfTradePrevention) func(*exchange.Command) {
	return func(c *exchange.Command) { c.SelfTrade = v }
}

func display(v exchange.Qty) func(*exchange.Command) {
	return func(c *exchange.Command) { c.DisplayQty = v }
}

func held(v exchange.Amount) func(*exchange.Command) {
	return func(c *exchange.Command) { c.Held = v }
}

func postOnly(v exchange.PostOnly) func(*exchange.Command) {
	return func(c *exchange.Command) { c.PostOnly = v }
}

func hidden(c *exchange.Command) { c.Hidden = true }

func id(n byte) exchange.CommandID { return exchange.CommandID{n} }

func withID(n byte) func(*exchange.Command) {
	return func(c *exchange.Command) { c.ID = id(n) }
}

func at(v exchange.Time) func(*exchange.Command) {
	return func(c *exchange.Command) { c.Time = v }
}

// line is an event in short.
func line(ev *exchange.Event) string {
	var s string
	switch ev.Kind {
	case exchange.EventAccepted:
		s = fmt.Sprintf("accepted %d: %v %d@%d", ev.OrderID, ev.Side, ev.LeavesQty, ev.Price)
	case exchange.EventTrade:
		s = fmt.Sprintf("trade %d x %d: %d@%d", ev.OrderID, ev.MakerOrderID, ev.Qty, ev.Price)
	case exchange.EventCanceled, exchange.EventExpired:
		s = fmt.Sprintf("%v %d: %d of %d, %v", ev.Kind, ev.OrderID, ev.Qty, ev.OrderQty, ev.Reason)
	case exchange.EventAmended:
		s = fmt.Sprintf("amended %d: %d of %d@%d", ev.OrderID, ev.LeavesQty, ev.OrderQty, ev.Price)
		if ev.LostPlace {
			s += ", lost"
		}
	case exchange.EventTriggered:
		s = fmt.Sprintf("triggered %d: %d@%d", ev.OrderID, ev.LeavesQty, ev.Price)
	case exchange.EventReplenished:
		s = fmt.Sprintf("replenished %d: %d of %d", ev.OrderID, ev.Qty, ev.LeavesQty)
	case exchange.EventSelfTradePrevented:
		s = fmt.Sprintf("prevented %d x %d: %d@%d", ev.OrderID, ev.MakerOrderID, ev.Qty, ev.Price)
	case exchange.EventRepriced:
		s = fmt.Sprintf("repriced %d: %d@%d", ev.OrderID, ev.LeavesQty, ev.Price)
	case exchange.EventRejected, exchange.EventDuplicate:
		s = fmt.Sprintf("%v: %v", ev.Kind, ev.Reason)
	case exchange.EventMassCanceled, exchange.EventKilled, exchange.EventDayEnded:
		s = fmt.Sprintf("%v: %d", ev.Kind, ev.Qty)
	default:
		s = ev.Kind.String()
	}
	if ev.Fee != 0 || ev.MakerFee != 0 {
		s += fmt.Sprintf(", fee %d/%d", ev.Fee, ev.MakerFee)
	}
	if ev.Release != 0 || ev.MakerRelease != 0 {
		s += fmt.Sprintf(", release %d/%d", ev.Release, ev.MakerRelease)
	}
	if ev.Amount != 0 && ev.Kind != exchange.EventTrade {
		s += fmt.Sprintf(", amount %d", ev.Amount)
	}
	return s
}

// run applies commands and returns their events in short.
func run(e *reference.Engine, commands ...exchange.Command) []string {
	var lines []string
	for i := range commands {
		events := e.Apply(nil, &commands[i])
		for j := range events {
			lines = append(lines, line(&events[j]))
		}
	}
	return lines
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("\n got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// engine has instrument 1 and the funds.
func engine(t *testing.T, funds uint8, change ...func(*exchange.InstrumentSpec)) *reference.Engine {
	t.Helper()
	return reference.New(reference.Config{Funds: funds, Instruments: []*exchange.Instrument{instrument(t, 1, change...)}})
}
