package reference_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
	"github.com/shopspring/decimal"
)

const accounts = 4

// everyone who may have something; 77 is a stranger.
var everyone = []exchange.AccountID{0, 1, 2, 3, 4, 77}

func oneOf[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// anyCommand is mostly reasonable.
func anyCommand(r *rand.Rand, e *reference.Engine, funds uint8) exchange.Command {
	inst := exchange.InstrumentID(1)
	if funds != 0 && r.IntN(4) == 0 {
		inst = 2
	}
	c := exchange.Command{Kind: exchange.KindNewOrder, Instrument: inst,
		Account: exchange.AccountID(r.IntN(accounts)) + 1, Side: oneOf(r, buy, sell), Type: exchange.Limit, TimeInForce: exchange.GTC,
		Qty: exchange.Qty(r.IntN(20)) + 1, Price: exchange.Price(r.IntN(20)) + 90, OrderID: exchange.OrderID(r.IntN(60)) + 1}
	if r.IntN(3) == 0 {
		c.Time = max(e.Clock()+exchange.Time(r.IntN(14))-4, 0)
	}
	if r.IntN(3) == 0 {
		c.ID = exchange.CommandID{byte(r.IntN(200)), byte(r.IntN(3))}
		c.OrigID = exchange.CommandID{byte(r.IntN(200)), byte(r.IntN(3))}
	}
	if funds == reference.FundsHeld {
		c.Held = exchange.Amount(r.IntN(5000))
	}
	if r.IntN(8) == 0 {
		c.Kind = exchange.CommandKind(r.IntN(19) + 1)
	} else if r.IntN(3) == 0 {
		c.Kind = oneOf(r, exchange.KindCancel, exchange.KindReduce, exchange.KindAmend, exchange.KindReplace)
	}
	if live := slices.Concat(e.Orders(c.Instrument, buy), e.Orders(c.Instrument, sell), e.Pending(c.Instrument)); len(live) > 0 && r.IntN(5) > 0 {
		o := live[r.IntN(len(live))]
		c.OrderID = o.ID
		if c.Kind != exchange.KindNewOrder {
			c.Account = o.Account
		}
	}
	switch c.Kind {
	case exchange.KindNewOrder:
		c.OrderID = 0
		if r.IntN(2) == 0 {
			c.Type = exchange.OrderType(r.IntN(7) + 1)
		}
		c.TimeInForce = oneOf(r, exchange.GTC, exchange.GTC, exchange.GTC, exchange.Day, exchange.GTD, exchange.IOC, exchange.FOK)
		c.SelfTrade = exchange.SelfTradePrevention(r.IntN(5))
		c.Group = uint32(r.IntN(4))
		if c.TimeInForce == exchange.GTD {
			c.Expire = e.Clock() + exchange.Time(r.IntN(60))
		}
		if c.Type >= exchange.Stop {
			c.StopPrice = exchange.Price(r.IntN(20)) + 90
		}
		switch r.IntN(8) {
		case 0:
			c.Hidden = true
		case 1:
			c.DisplayQty = exchange.Qty(r.IntN(5)) + 1
		case 2:
			c.PostOnly = oneOf(r, exchange.PostOnlyReject, exchange.PostOnlySlide)
		case 3:
			c.MinQty = exchange.Qty(r.IntN(10))
		case 4:
			c.Funds = exchange.Amount(r.IntN(3000))
			c.Qty *= exchange.Qty(r.IntN(2))
		case 5:
			c.PriceIsDistance = true
			c.Price = exchange.Price(r.IntN(4))
		}
		if c.Type != exchange.Limit && r.IntN(3) == 0 {
			c.Price = 0
		}
	case exchange.KindAmend, exchange.KindReplace:
		c.Price *= exchange.Price(r.IntN(2))
		c.Qty *= exchange.Qty(r.IntN(2))
		if r.IntN(3) == 0 {
			c.StopPrice = exchange.Price(r.IntN(20)) + 90
		}
	case exchange.KindAdvanceTime:
		c.Time = e.Clock() + exchange.Time(r.IntN(5))
	case exchange.KindKill, exchange.KindLiftKill:
		c.Account *= exchange.AccountID(r.IntN(2))
	case exchange.KindLimit:
		c.Limit = exchange.LimitKind(r.IntN(10) + 1)
		c.Value = oneOf[int64](r, -1, -1, 5, 50, 100, 1000)
		c.Account *= exchange.AccountID(r.IntN(2))
	case exchange.KindFees:
		c.MakerFee, c.TakerFee = exchange.FeeRate(r.IntN(30000)-10000), exchange.FeeRate(r.IntN(30000)-5000)
	case exchange.KindDeposit, exchange.KindWithdraw:
		c.Funds = exchange.Amount(r.IntN(100_000))
	case exchange.KindAccountState:
		c.AccountState = oneOf(r, exchange.AccountActive, exchange.AccountActive, exchange.AccountCancelOnly, exchange.AccountSuspended)
	case exchange.KindInstrumentState:
		c.InstrumentState = oneOf(r, exchange.InstrumentTrading, exchange.InstrumentTrading, exchange.InstrumentCancelOnly, exchange.InstrumentHalted)
	}
	switch c.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindAdvanceTime, exchange.KindEndDay, exchange.KindLimit:
		c.Instrument *= exchange.InstrumentID(r.IntN(2))
	case exchange.KindDeposit, exchange.KindWithdraw, exchange.KindAccountState:
		c.Instrument = 0
		c.Asset = exchange.AssetID(r.IntN(2)) + 1
	}
	if r.IntN(8) == 0 {
		spoil(r, e, &c)
	}
	return c
}

// undo returns the command that lets in again what c may have kept out.
func undo(c exchange.Command) (exchange.Command, bool) {
	switch c.Kind {
	case exchange.KindKill:
		return exchange.LiftKill(c.Instrument, c.Account), true
	case exchange.KindAccountState:
		return exchange.SetAccountState(c.Account, exchange.AccountActive), true
	case exchange.KindInstrumentState:
		return exchange.SetInstrumentState(c.Instrument, exchange.InstrumentTrading), true
	case exchange.KindLimit:
		return exchange.SetLimit(c.Instrument, c.Account, c.Limit, -1), true
	}
	return c, false
}

// spoil makes one field of c strange.
func spoil(r *rand.Rand, e *reference.Engine, c *exchange.Command) {
	strange := oneOf[int64](r, -1, 0, 1, 99, 1<<40, 1<<60, 1<<60+1, 1<<63-1, -1<<63)
	switch r.IntN(18) {
	case 0:
		c.Kind = exchange.CommandKind(strange)
	case 1:
		c.Side = exchange.Side(strange)
	case 2:
		c.Type = exchange.OrderType(strange)
	case 3:
		c.TimeInForce = exchange.TimeInForce(strange)
	case 4:
		c.SelfTrade = exchange.SelfTradePrevention(strange)
	case 5:
		c.PostOnly = exchange.PostOnly(strange)
	case 6:
		c.Account = oneOf[exchange.AccountID](r, 0, 77)
	case 7:
		c.Instrument = exchange.InstrumentID(strange)
	case 8:
		c.Price = exchange.Price(strange)
	case 9:
		c.StopPrice = exchange.Price(strange)
	case 10:
		c.Qty = exchange.Qty(strange)
	case 11:
		c.DisplayQty = exchange.Qty(strange)
	case 12:
		c.MinQty = exchange.Qty(strange)
	case 13:
		c.Funds = exchange.Amount(strange)
	case 14:
		c.Held = exchange.Amount(strange)
	case 15:
		c.Value = strange
	case 16:
		c.Expire, c.MakerFee = exchange.Time(strange), exchange.FeeRate(strange)
	case 17:
		c.Time = min(exchange.Time(strange), e.Clock()+100)
		c.AccountState, c.InstrumentState = exchange.AccountState(strange), exchange.InstrumentState(strange)
	}
}

// TestRandom runs random commands in every mode and checks the invariants of
// the design after each: FUNDS-002, FUNDS-010, MATCH-010, EVENT-002,
// EVENT-003, EVENT-006.
func TestRandom(t *testing.T) {
	const runs, commands = 40, 400
	for _, funds := range []uint8{reference.FundsNone, reference.FundsLedger, reference.FundsHeld, 0} {
		kinds := map[exchange.EventKind]int{}
		for seed := range uint64(runs) {
			r := rand.New(rand.NewPCG(seed, uint64(funds)))
			cfg := reference.Config{Funds: funds, Matcher: funds == 0, DedupSpan: 60, DedupCount: 20, MaxOrders: 30, MaxAccounts: accounts,
				Instruments: []*exchange.Instrument{instrument(t, 1, fees("-0.003", "0.01")), instrument(t, 2, func(s *exchange.InstrumentSpec) {
					s.MaxPrice = decimal.NewFromInt(100)
					s.MinQty = decimal.NewFromInt(2)
				})}}
			if cfg.Matcher {
				cfg.Instruments = cfg.Instruments[:1]
			}
			e := reference.New(cfg)
			deposited := map[exchange.AssetID]exchange.Amount{}
			apply := func(c exchange.Command) []exchange.Event {
				before := [3]uint64{e.Seq(0), e.Seq(1), e.Seq(2)}
				clone := e.Clone()
				events := e.Apply(nil, &c)
				if again := clone.Apply(nil, &c); !slices.Equal(events, again) {
					t.Fatalf("funds %d, seed %d: a clone differs after %+v", funds, seed, c)
				}
				for i, ev := range events {
					kinds[ev.Kind]++
					if ev.Kind != exchange.EventDuplicate {
						before[ev.Instrument]++
						if ev.Seq != before[ev.Instrument] {
							t.Fatalf("funds %d, seed %d: sequence %d of %d", funds, seed, ev.Seq, ev.Instrument)
						}
					}
					if i < len(events)-1 && (ev.Kind == exchange.EventRejected || ev.Kind == exchange.EventDuplicate) {
						t.Fatalf("funds %d, seed %d: %v is not last", funds, seed, ev.Kind)
					}
					switch ev.Kind {
					case exchange.EventDeposited:
						deposited[ev.Asset] += ev.Amount
					case exchange.EventWithdrawn:
						deposited[ev.Asset] -= ev.Amount
					}
				}
				if len(events) == 0 {
					t.Fatalf("funds %d, seed %d: no event of %+v", funds, seed, c)
				}
				return events
			}
			if funds == reference.FundsLedger {
				for acct := range exchange.AccountID(accounts) {
					apply(exchange.Deposit(acct+1, base, 200))
					apply(exchange.Deposit(acct+1, quote, 20_000))
				}
			}
			var later []exchange.Command
			for range commands {
				c := anyCommand(r, e, funds)
				apply(c)
				if back, ok := undo(c); ok {
					later = append(later, back)
				}
				if r.IntN(10) == 0 {
					for _, c := range later {
						apply(c)
					}
					later = nil
				}
				if fault := invariants(e, len(cfg.Instruments), funds, deposited); fault != "" {
					t.Fatalf("funds %d, seed %d: %s", funds, seed, fault)
				}
			}
		}
		for kind := exchange.EventAccepted; kind <= exchange.EventInstrumentStateSet; kind++ {
			moves := kind == exchange.EventDeposited || kind == exchange.EventWithdrawn
			never := moves && funds != reference.FundsLedger || funds == 0 && kind == exchange.EventAccountStateSet
			if kinds[kind] == 0 != never {
				t.Errorf("funds %d: %d times %v", funds, kinds[kind], kind)
			}
		}
	}
}

func invariants(e *reference.Engine, instruments int, funds uint8, deposited map[exchange.AssetID]exchange.Amount) string {
	type purse struct {
		acct  exchange.AccountID
		asset exchange.AssetID
	}
	holds := map[purse]exchange.Amount{}
	for i := range instruments {
		inst := exchange.InstrumentID(i + 1)
		bids, asks := e.Orders(inst, buy), e.Orders(inst, sell)
		if len(bids) > 0 && len(asks) > 0 && bids[0].Price >= asks[0].Price {
			return fmt.Sprintf("crossed: %d and %d", bids[0].Price, asks[0].Price)
		}
		waiting := e.Pending(inst)
		if n := len(bids) + len(asks) + len(waiting); n != e.Len(inst) {
			return fmt.Sprintf("%d orders live, %d to be seen", e.Len(inst), n)
		}
		for _, o := range slices.Concat(bids, asks, waiting) {
			if o.OrderQty != o.CumQty+o.LeavesQty || o.LeavesQty <= 0 || o.ShownQty > o.LeavesQty {
				return fmt.Sprintf("quantities of %+v", o)
			}
			if asset := quote; funds == reference.FundsLedger {
				if o.Side == sell {
					asset = base
				}
				holds[purse{o.Account, asset}] += o.Held
			}
			if o.Side == sell && funds >= reference.FundsLedger && o.Held != exchange.Amount(o.LeavesQty) {
				return fmt.Sprintf("hold of %+v", o)
			}
		}
		var net exchange.Qty
		for _, acct := range everyone {
			net += e.Position(acct, inst).Net
		}
		if net != 0 {
			return fmt.Sprintf("positions add up to %d", net)
		}
	}
	for _, asset := range []exchange.AssetID{base, quote} {
		var total exchange.Amount
		for _, acct := range everyone {
			have := e.Balance(acct, asset)
			if acct != 0 && have.Available < 0 || have.Held != holds[purse{acct, asset}] {
				return fmt.Sprintf("account %d has %+v of %d, its orders hold %d", acct, have, asset, holds[purse{acct, asset}])
			}
			total += have.Available + have.Held
		}
		if total != deposited[asset] {
			return fmt.Sprintf("%d of asset %d, %d deposited", total, asset, deposited[asset])
		}
	}
	return ""
}
