package reference_test

import (
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
	"github.com/shopspring/decimal"
)

// The reference itself, rule by rule. before is applied first, then command.
func TestRulesOfMatching(t *testing.T) {
	funds := func(n exchange.Amount) exchange.Command { return exchange.MarketOrderByFunds(1, 9, n) }
	distance := func(c *exchange.Command) { c.PriceIsDistance = true }
	price := func(p exchange.Price) func(*exchange.Command) { return func(c *exchange.Command) { c.Price = p } }
	minQty := func(q exchange.Qty) func(*exchange.Command) { return func(c *exchange.Command) { c.MinQty = q } }
	for _, tc := range []struct {
		name    string
		before  []exchange.Command
		command exchange.Command
		want    []string
	}{
		{"MATCH-001 MATCH-002 price, then time", []exchange.Command{limit(1, sell, 101, 1), limit(2, sell, 100, 1), limit(3, sell, 100, 1)},
			limit(9, buy, 105, 4),
			[]string{"accepted 4: buy 4@105", "trade 4 x 2: 1@100", "trade 4 x 3: 1@100", "trade 4 x 1: 1@101"}},
		{"MATCH-004 hidden orders keep time priority", []exchange.Command{limit(1, sell, 100, 1, hidden), limit(2, sell, 100, 1)},
			limit(9, buy, 100, 1), []string{"accepted 3: buy 1@100", "trade 3 x 1: 1@100"}},
		{"MATCH-005 IOC", []exchange.Command{limit(1, sell, 100, 1)}, limit(9, buy, 100, 3, tif(exchange.IOC)),
			[]string{"accepted 2: buy 3@100", "trade 2 x 1: 1@100", "canceled 2: 2 of 3, immediate remainder"}},
		{"MATCH-006 FOK", []exchange.Command{limit(1, sell, 100, 2)}, limit(9, buy, 100, 3, tif(exchange.FOK)),
			[]string{"accepted 2: buy 3@100", "canceled 2: 3 of 3, fill or kill"}},
		{"MATCH-006 FOK counts an iceberg whole", []exchange.Command{limit(1, sell, 100, 3, display(1))}, limit(9, buy, 100, 3, tif(exchange.FOK)),
			[]string{"accepted 2: buy 3@100", "trade 2 x 1: 1@100", "replenished 1: 1 of 2", "trade 2 x 1: 1@100", "replenished 1: 1 of 1", "trade 2 x 1: 1@100"}},
		{"MATCH-006 a decremented quantity is not traded", []exchange.Command{limit(1, sell, 100, 2), limit(2, sell, 100, 3)},
			limit(1, buy, 100, 3, tif(exchange.FOK), stp(exchange.Decrement)), []string{"accepted 3: buy 3@100", "canceled 3: 3 of 3, fill or kill"}},
		{"MATCH-007 below MinQty", []exchange.Command{limit(1, sell, 100, 2)}, limit(9, buy, 100, 5, minQty(3)),
			[]string{"accepted 2: buy 5@100", "canceled 2: 5 of 5, minimum quantity not met"}},
		{"MATCH-007 nothing executable", nil, limit(9, buy, 100, 5, minQty(3)), []string{"accepted 1: buy 5@100"}},
		{"MATCH-008 market to limit", []exchange.Command{limit(1, sell, 100, 2), limit(1, sell, 101, 2)}, exchange.MarketToLimitOrder(1, 9, buy, 5),
			[]string{"accepted 3: buy 5@0", "trade 3 x 1: 2@100", "repriced 3: 3@100"}},
		{"MATCH-008 empty book", nil, exchange.MarketToLimitOrder(1, 9, buy, 5), []string{"accepted 1: buy 5@0", "canceled 1: 5 of 5, no liquidity"}},
		{"MATCH-008 beyond its worst price", []exchange.Command{limit(1, sell, 100, 2)}, changed(exchange.MarketToLimitOrder(1, 9, buy, 5), price(99)),
			[]string{"accepted 2: buy 5@99", "canceled 2: 5 of 5, no liquidity"}},
		{"MATCH-009 round the icebergs", []exchange.Command{limit(1, sell, 100, 4, display(2)), limit(2, sell, 100, 1)}, limit(9, buy, 100, 4),
			[]string{"accepted 3: buy 4@100", "trade 3 x 1: 2@100", "replenished 1: 2 of 2", "trade 3 x 2: 1@100", "trade 3 x 1: 1@100"}},
		{"MATCH-011 the budget is used up", []exchange.Command{limit(1, sell, 100, 5)}, funds(250),
			[]string{"accepted 2: buy 0@0", "trade 2 x 1: 2@100", "canceled 2: 0 of 2, funds exhausted"}},
		{"MATCH-011 the book is used up", []exchange.Command{limit(1, sell, 100, 2)}, funds(250),
			[]string{"accepted 2: buy 0@0", "trade 2 x 1: 2@100", "canceled 2: 0 of 2, immediate remainder"}},
		{"ORDER-015 a distance", []exchange.Command{limit(1, sell, 100, 1), limit(1, sell, 102, 1)},
			changed(exchange.MarketOrder(1, 9, buy, 2), price(1), distance),
			[]string{"accepted 3: buy 2@101", "trade 3 x 1: 1@100", "canceled 3: 1 of 2, immediate remainder"}},
		{"ORDER-015 a distance in an empty book", nil, changed(exchange.MarketOrder(1, 9, buy, 2), price(1), distance),
			[]string{"accepted 1: buy 2@0", "canceled 1: 2 of 2, no liquidity"}},
		{"ORDER-006 post-only", []exchange.Command{limit(1, sell, 100, 1)}, limit(9, buy, 100, 1, postOnly(exchange.PostOnlyReject)),
			[]string{"rejected: post-only order would take"}},
		{"ORDER-006 slides off a hidden order", []exchange.Command{limit(1, sell, 100, 1, hidden)}, limit(9, buy, 105, 1, postOnly(exchange.PostOnlySlide)),
			[]string{"accepted 2: buy 1@99"}},
		{"STP-003 newest", []exchange.Command{limit(2, sell, 100, 1), limit(1, sell, 100, 1)}, limit(1, buy, 100, 3, stp(exchange.CancelNewest)),
			[]string{"accepted 3: buy 3@100", "trade 3 x 1: 1@100", "prevented 3 x 2: 0@100", "canceled 3: 2 of 3, self-trade prevention"}},
		{"STP-003 oldest", []exchange.Command{limit(1, sell, 100, 3, display(1)), limit(2, sell, 100, 1)}, limit(1, buy, 100, 1, stp(exchange.CancelOldest)),
			[]string{"accepted 3: buy 1@100", "prevented 3 x 1: 0@100", "canceled 1: 3 of 3, self-trade prevention", "trade 3 x 2: 1@100"}},
		{"STP-002 both, the maker first", []exchange.Command{limit(1, sell, 100, 1)}, limit(1, buy, 100, 3, stp(exchange.CancelBoth)),
			[]string{"accepted 2: buy 3@100", "prevented 2 x 1: 0@100", "canceled 1: 1 of 1, self-trade prevention", "canceled 2: 3 of 3, self-trade prevention"}},
		{"STP-004 decrement, slice by slice", []exchange.Command{limit(1, sell, 100, 3, display(2))}, limit(1, buy, 100, 3, stp(exchange.Decrement)),
			[]string{"accepted 2: buy 3@100", "prevented 2 x 1: 2@100", "replenished 1: 1 of 1", "prevented 2 x 1: 1@100",
				"canceled 1: 0 of 0, self-trade prevention", "canceled 2: 0 of 0, self-trade prevention"}},
		{"STP-001 a group", []exchange.Command{limit(1, sell, 100, 1, func(c *exchange.Command) { c.Group = 7 })},
			limit(2, buy, 100, 1, stp(exchange.CancelNewest), func(c *exchange.Command) { c.Group = 7 }),
			[]string{"accepted 2: buy 1@100", "prevented 2 x 1: 0@100", "canceled 2: 1 of 1, self-trade prevention"}},
		{"STOP-003 STOP-004 rises before falls, cascades at the back", []exchange.Command{
			limit(1, sell, 100, 1), limit(1, sell, 103, 5), limit(2, buy, 90, 9),
			exchange.StopOrder(1, 3, buy, 103, 1), exchange.StopOrder(1, 3, buy, 100, 1), exchange.StopOrder(1, 3, sell, 100, 1)},
			limit(9, buy, 100, 1), []string{"accepted 7: buy 1@100", "trade 7 x 1: 1@100", "triggered 5: 1@0", "trade 5 x 2: 1@103",
				"triggered 6: 1@1", "trade 6 x 3: 1@90", "triggered 4: 1@0", "trade 4 x 2: 1@103"}},
		{"STOP-002 already met", []exchange.Command{exchange.SetLastPrice(1, 100)}, exchange.StopLimitOrder(1, 9, buy, 99, 98, 1),
			[]string{"accepted 1: buy 1@98", "triggered 1: 1@98"}},
		{"STOP-007 post-only when triggered", []exchange.Command{limit(1, sell, 100, 1), exchange.SetLastPrice(1, 100)},
			changed(exchange.StopLimitOrder(1, 9, buy, 99, 105, 1), postOnly(exchange.PostOnlyReject)),
			[]string{"accepted 2: buy 1@105", "triggered 2: 1@105", "canceled 2: 1 of 1, post-only order would take when triggered"}},
		{"AMEND-004 down keeps the place", []exchange.Command{limit(1, sell, 100, 5), limit(2, sell, 100, 5)}, exchange.Amend(1, 1, 1, 0, 3),
			[]string{"amended 1: 3 of 3@100"}},
		{"AMEND-005 a new price acts again", []exchange.Command{limit(1, sell, 100, 5), limit(2, buy, 99, 2)}, exchange.Amend(1, 1, 1, 99, 0),
			[]string{"amended 1: 5 of 5@99, lost", "trade 1 x 2: 2@99"}},
		{"AMEND-002 to what is executed", []exchange.Command{limit(1, sell, 100, 5), limit(2, buy, 100, 2)}, exchange.Amend(1, 1, 1, 0, 2),
			[]string{"canceled 1: 3 of 5, amended to nothing"}},
		{"REDUCE-001", []exchange.Command{limit(1, sell, 100, 5)}, exchange.Reduce(1, 1, 1, 5), []string{"canceled 1: 5 of 5, reduced"}},
		{"CANCEL-001 another's order", []exchange.Command{limit(1, sell, 100, 5)}, exchange.Cancel(1, 2, 1), []string{"rejected: unknown order"}},
		{"REPLACE-003", []exchange.Command{limit(1, sell, 100, 5, display(3))}, exchange.Replace(1, 1, 1, 101, 2),
			[]string{"canceled 1: 5 of 5, replaced", "accepted 2: sell 2@101"}},
		{"REPLACE-002 refused", []exchange.Command{limit(1, sell, 100, 5)}, exchange.Replace(1, 1, 1, -1, 2), []string{"rejected: price below minimum"}},
		{"MASS-001 by id, one side", []exchange.Command{limit(1, sell, 100, 1), limit(1, buy, 90, 1), exchange.StopOrder(1, 2, sell, 80, 1)},
			changed(exchange.MassCancel(1, 0), func(c *exchange.Command) { c.Side = sell }),
			[]string{"canceled 1: 1 of 1, mass cancel", "canceled 3: 1 of 1, mass cancel", "mass canceled: 2"}},
		{"KILL-001", []exchange.Command{exchange.Kill(0, 1)}, limit(1, buy, 1, 1), []string{"rejected: kill switch engaged"}},
		{"TIME-002 by expiry, then id", []exchange.Command{
			limit(1, buy, 1, 1, tif(exchange.GTD), func(c *exchange.Command) { c.Expire = 20 }),
			limit(1, buy, 1, 1, tif(exchange.GTD), func(c *exchange.Command) { c.Expire = 10 })},
			exchange.AdvanceTime(0, 20), []string{"expired 2: 1 of 1, expired", "expired 1: 1 of 1, expired", "time advanced"}},
		{"TIME-004", []exchange.Command{limit(1, buy, 1, 1, tif(exchange.Day)), limit(1, buy, 1, 1)}, exchange.EndDay(0),
			[]string{"expired 1: 1 of 1, end of day", "day ended: 1"}},
		{"RISK-001", []exchange.Command{exchange.SetLimit(1, 0, exchange.LimitCollarUp, 100_000), exchange.SetReferencePrice(1, 15)},
			limit(1, buy, 17, 1), []string{"rejected: price outside collar"}},
		{"RISK-003", []exchange.Command{exchange.SetLimit(1, 1, exchange.LimitPosition, 5), limit(1, buy, 1, 3)}, limit(1, buy, 1, 3),
			[]string{"rejected: position limit"}},
		{"DEDUP-001", []exchange.Command{limit(1, buy, 1, 1, withID(1))}, limit(1, buy, 1, 1, withID(1)), []string{"duplicate: duplicate command"}},
		{"VOID-001", nil, exchange.Void(1, 1, id(1)), []string{"rejected: voided"}},
		{"VOID-001 without an id", nil, exchange.Void(1, 1, id(0)), []string{"rejected: invalid command id"}},
		{"VOID-001 comes first", []exchange.Command{exchange.Void(1, 1, id(1))}, limit(1, buy, 1, 1, withID(1)), []string{"duplicate: duplicate command"}},
		{"VOID-002 comes last", []exchange.Command{limit(1, buy, 1, 1, withID(1))}, exchange.Void(1, 1, id(1)), []string{"duplicate: duplicate command"}},
		{"CMD-002", nil, exchange.Cancel(0, 1, 1), []string{"rejected: unknown instrument"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := engine(t, reference.FundsNone)
			run(e, tc.before...)
			same(t, run(e, tc.command), tc.want...)
		})
	}
}

// FEE-001: the number of fills does not change the fee; FUNDS-002, FUNDS-004.
func TestFunds(t *testing.T) {
	e := engine(t, reference.FundsLedger, fees("-0.001", "0.01"))
	same(t, run(e, exchange.Deposit(1, base, 10), exchange.Deposit(2, quote, 10_000),
		limit(1, sell, 10, 1), limit(1, sell, 10, 1), limit(1, sell, 10, 8), limit(2, buy, 11, 10),
		limit(2, buy, 11, 1_000)),
		"deposited, amount 10", "deposited, amount 10000", "accepted 1: sell 1@10", "accepted 2: sell 1@10", "accepted 3: sell 8@10",
		"accepted 4: buy 10@11", "trade 4 x 1: 1@10, fee 1/0, release 1/0", "trade 4 x 2: 1@10, release 1/0",
		"trade 4 x 3: 8@10, release 9/0", "rejected: insufficient funds")
	for _, want := range []struct {
		acct  exchange.AccountID
		asset exchange.AssetID
		have  reference.Balance
	}{
		{1, quote, reference.Balance{Available: 100}}, {2, quote, reference.Balance{Available: 9_899}},
		{2, base, reference.Balance{Available: 10}}, {1, base, reference.Balance{}}, {0, quote, reference.Balance{Available: 1}},
	} {
		if got := e.Balance(want.acct, want.asset); got != want.have {
			t.Errorf("account %d, asset %d: %+v, want %+v", want.acct, want.asset, got, want.have)
		}
	}
}

// FUNDS-003, FUNDS-005, FUNDS-006, FUNDS-007 and VOID-002: whose hold is released when.
func TestHeld(t *testing.T) {
	e := engine(t, reference.FundsHeld, fees("0", "0.1"))
	same(t, run(e,
		limit(1, buy, 10, 10, held(109)),
		limit(1, buy, 10, 10, held(115)),
		changed(exchange.Amend(1, 1, 1, 0, 20), held(109)),
		changed(exchange.Amend(1, 1, 1, 0, 20), held(120)),
		changed(exchange.Amend(1, 1, 1, 0, 15), held(5)),
		changed(exchange.Replace(1, 1, 1, 0, 20), held(60)),
		changed(exchange.Replace(1, 1, 2, 0, 10), held(7)),
		limit(2, sell, 10, 4, held(4)),
		exchange.MarketOrder(1, 1, buy, 1),
		changed(exchange.MarketToLimitOrder(1, 1, buy, 1), held(9)),
		changed(exchange.Amend(1, 1, 3, 0, 3), held(2)),
		changed(exchange.Void(1, 1, id(1)), held(7)), changed(exchange.Void(1, 1, id(2)), held(1<<62+1))),
		"rejected: insufficient funds, release 109/0",
		"accepted 1: buy 10@10, release 5/0",
		"rejected: insufficient funds, release 109/0",
		"amended 1: 20 of 20@10, lost, release 0/10, amount 110",
		"amended 1: 15 of 15@10, release 55/5",
		"canceled 1: 15 of 15, replaced, amount 165", "accepted 2: buy 20@10, release 5/0",
		"canceled 2: 20 of 20, replaced, release 110/0, amount 110", "accepted 3: buy 10@10, release 7/0",
		"accepted 4: sell 4@10", "trade 4 x 3: 4@10, fee 4/0, release 0/4",
		"rejected: worst price or funds required",
		"accepted 5: buy 1@0, release 9/0", "canceled 5: 1 of 1, no liquidity",
		"canceled 3: 6 of 10, amended to nothing, release 66/2",
		"rejected: voided, release 7/0", "rejected: invalid held amount, release 4611686018427387905/0")
}

// MATCH-008 and FUNDS-001: a market-to-limit order with Funds.
func TestMarketToLimitByFunds(t *testing.T) {
	order := func(n exchange.Amount) exchange.Command {
		c := exchange.MarketToLimitOrder(1, 2, buy, 10)
		c.Funds, c.Held = n, n
		return c
	}
	e := engine(t, reference.FundsHeld, fees("0", "0.1"))
	same(t, run(e, limit(1, sell, 10, 3, held(3)), order(109), limit(1, sell, 10, 3, held(3)), order(115)),
		"accepted 1: sell 3@10", "accepted 2: buy 10@0", "trade 2 x 1: 3@10, fee 3/0", "canceled 2: 7 of 10, funds exhausted, release 76/0",
		"accepted 3: sell 3@10", "accepted 4: buy 10@0", "trade 4 x 3: 3@10, fee 3/0", "repriced 4: 7@10, release 5/0")
}

// DEDUP-002 and DEDUP-003.
func TestDedup(t *testing.T) {
	e := reference.New(reference.Config{Funds: reference.FundsNone, Instruments: []*exchange.Instrument{instrument(t, 1)}, DedupSpan: 100, DedupCount: 2})
	cancel := func(n byte, when exchange.Time) exchange.Command {
		return changed(exchange.Cancel(1, 1, 99), withID(n), at(when))
	}
	same(t, run(e, cancel(1, 10), cancel(2, 11), cancel(1, 10), cancel(3, 12), cancel(1, 10), cancel(3, 12), cancel(4, 200), cancel(2, 11), cancel(5, 0)),
		"rejected: unknown order", "rejected: unknown order", "duplicate: duplicate command", "rejected: unknown order",
		"rejected: stale command", "duplicate: duplicate command", "rejected: unknown order", "rejected: stale command", "rejected: unknown order")
}

// ADMIN-006.
func TestMatcher(t *testing.T) {
	e := reference.New(reference.Config{Matcher: true, Instruments: []*exchange.Instrument{instrument(t, 1)}})
	same(t, run(e, exchange.Deposit(1, base, 1), exchange.Kill(1, 1), exchange.Kill(1, 0), exchange.LiftKill(1, 0),
		exchange.SetLimit(1, 1, exchange.LimitPosition, 1), exchange.SetLimit(1, 0, exchange.LimitMaxPrice, 10), limit(1, buy, 11, 1)),
		"rejected: invalid command kind", "rejected: invalid command kind", "killed: 0", "kill lifted",
		"rejected: invalid command kind", "limit set", "rejected: price above maximum")
}

// ORDER-015 and MATCH-003: the price limit is the default worst price.
func TestWorstPrice(t *testing.T) {
	e := engine(t, reference.FundsNone, func(s *exchange.InstrumentSpec) {
		s.MinPrice, s.MaxPrice = decimal.NewFromInt(50), decimal.NewFromInt(150)
	})
	same(t, run(e, exchange.MarketOrder(1, 1, buy, 1), exchange.MarketOrder(1, 1, sell, 1),
		exchange.SetReferencePrice(1, 100), exchange.SetLimit(1, 0, exchange.LimitCollarUp, 100_000), exchange.MarketOrder(1, 1, buy, 1)),
		"accepted 1: buy 1@150", "canceled 1: 1 of 1, immediate remainder", "accepted 2: sell 1@50", "canceled 2: 1 of 1, immediate remainder",
		"reference price set", "limit set", "accepted 3: buy 1@110", "canceled 3: 1 of 1, immediate remainder")
}

// RISK-006, CMD-003, CMD-006 and CMD-007: what a refused message leaves behind.
func TestMessages(t *testing.T) {
	e := reference.New(reference.Config{Funds: reference.FundsNone, Instruments: []*exchange.Instrument{instrument(t, 1)}, MaxAccounts: 2})
	same(t, run(e, limit(2, buy, -1, 1), limit(1, buy, 1, 1),
		exchange.SetLimit(0, 0, exchange.LimitMessages, 2), exchange.SetLimit(0, 0, exchange.LimitMessageWindow, 10),
		limit(2, buy, -1, 1, at(5)), limit(2, buy, 1, 1), limit(2, buy, 1, 1), exchange.Cancel(1, 2, 2), limit(2, buy, 1, 1, at(14)), limit(2, buy, 1, 1, at(15)),
		limit(3, buy, 1, 1)),
		"rejected: price below minimum", "accepted 1: buy 1@1", "limit set", "limit set",
		"rejected: price below minimum", "accepted 2: buy 1@1", "rejected: message rate", "canceled 2: 1 of 1, requested",
		"rejected: message rate", "accepted 3: buy 1@1", "rejected: too many accounts")
}

// FUNDS-008 and FUNDS-009.
func TestTooMuch(t *testing.T) {
	e := engine(t, reference.FundsLedger, fees("-0.001", "0.01"))
	same(t, run(e, exchange.Deposit(1, 9, 1), exchange.Deposit(1, quote, 0), exchange.Deposit(1, quote, 1<<61+1), limit(1, buy, 1, 1),
		exchange.Deposit(2, quote, 1<<63-1), exchange.Withdraw(1, quote, 2), limit(1, buy, 1, 1), exchange.Withdraw(1, quote, 1<<61)),
		"rejected: unknown asset", "rejected: invalid funds", "deposited, amount 2305843009213693953", "rejected: amount overflow",
		"rejected: amount overflow", "withdrawn, amount 2", "accepted 1: buy 1@1", "rejected: insufficient funds")
}
