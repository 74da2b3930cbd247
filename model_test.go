package exchange_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
)

var modelSeed = flag.Uint64("model.seed", 0, "seed of the one run of a random test to replay; 0: many")

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

var (
	btc = exchange.Asset{ID: 1, Code: "BTC", Scale: 2}
	usd = exchange.Asset{ID: 2, Code: "USD", Scale: 4}
	eth = exchange.Asset{ID: 5, Code: "ETH", Scale: 3}
)

// modelInstruments are two small markets that share an asset.
func modelInstruments(t require.TestingT) []*exchange.Instrument {
	one, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD", Base: btc, Quote: usd, Tick: dec("0.1"), Lot: dec("0.01"),
		MinPrice: dec("8.0"), MaxPrice: dec("12.0"), MaxQty: dec("0.60"), MinQty: dec("0.01"),
		MinNotional: dec("0.20"), MaxNotional: dec("6"), MakerFee: dec("-0.0125"), TakerFee: dec("0.033"),
	})
	require.NoError(t, err)
	two, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 3, Symbol: "ETH-BTC", Base: eth, Quote: btc, Tick: dec("0.1"), Lot: dec("0.1"),
		MakerFee: dec("0.02"), TakerFee: dec("0.011111"),
	})
	require.NoError(t, err)
	return []*exchange.Instrument{one, two}
}

// applier is an Engine, a Matcher or the reference.
type applier interface {
	Apply(dst []exchange.Event, cmd *exchange.Command) []exchange.Event
}

// system is the engine under test beside its model.
type system struct {
	mode    exchange.Funds
	engine  *exchange.Engine  // nil for a Matcher
	matcher *exchange.Matcher // nil for an Engine
	apply   applier
	model   *reference.Engine
	insts   []*exchange.Instrument
	got     []exchange.Event
	want    []exchange.Event
}

const (
	modelDedupCount = 60
	modelMaxOrders  = 18
)

func newSystem(t require.TestingT, mode exchange.Funds, alone bool, fault reference.Fault) *system {
	insts := modelInstruments(t)
	if alone {
		insts = insts[:1]
	}
	return newSystemOf(t, mode, alone, fault, insts)
}

func newSystemOf(t require.TestingT, mode exchange.Funds, alone bool, fault reference.Fault, insts []*exchange.Instrument) *system {
	s := &system{mode: mode, insts: insts}
	if alone {
		s.matcher = newMatcher(t, s.insts[0], exchange.MatcherConfig{DedupSpan: 120, DedupCount: modelDedupCount, MaxOrders: modelMaxOrders})
		s.apply = s.matcher
	} else {
		s.engine = newModelEngine(t, s.insts, mode)
		s.apply = s.engine
	}
	s.model = reference.New(reference.Config{Funds: uint8(mode), Instruments: s.insts, DedupSpan: 120,
		DedupCount: modelDedupCount, MaxOrders: modelMaxOrders, MaxAccounts: 4, Faults: fault, Matcher: alone})
	return s
}

func newMatcher(t require.TestingT, inst *exchange.Instrument, cfg exchange.MatcherConfig) *exchange.Matcher {
	m, err := exchange.NewMatcher(inst, cfg)
	require.NoError(t, err)
	return m
}

func newModelEngine(t require.TestingT, insts []*exchange.Instrument, mode exchange.Funds) *exchange.Engine {
	e, err := exchange.NewEngine(exchange.Config{Funds: mode, Instruments: insts, DedupSpan: 120,
		DedupCount: modelDedupCount, MaxOrders: modelMaxOrders, MaxAccounts: 4})
	require.NoError(t, err)
	return e
}

// fund gives every account something to trade with.
func (s *system) fund() []exchange.Command {
	if s.mode != exchange.FundsLedger {
		return nil
	}
	var cmds []exchange.Command
	for acct := exchange.AccountID(1); acct <= 3; acct++ {
		cmds = append(cmds, exchange.Deposit(acct, 1, 2_000), exchange.Deposit(acct, 2, 800_000), exchange.Deposit(acct, 5, 90_000))
	}
	return cmds
}

// step applies a command to both and returns where they differ, "" when they
// agree. It asserts the invariants after every command.
func (s *system) step(cmd exchange.Command) string {
	before := cmd
	s.got = s.apply.Apply(s.got[:0], &cmd)
	if cmd != before {
		return "Apply changed the command"
	}
	s.want = s.model.Apply(s.want[:0], &cmd)
	for i := range max(len(s.got), len(s.want)) {
		switch {
		case i >= len(s.got):
			return fmt.Sprintf("command %+v\nevent %d is missing: %+v", cmd, i, s.want[i])
		case i >= len(s.want):
			return fmt.Sprintf("command %+v\nevent %d is too much: %+v", cmd, i, s.got[i])
		case s.got[i] != s.want[i]:
			return fmt.Sprintf("command %+v\nevent %d\n     is %+v\nexpected %+v", cmd, i, s.got[i], s.want[i])
		}
	}
	if len(s.got) == 0 {
		return fmt.Sprintf("CMD-004: no event for %+v", cmd)
	}
	return s.invariants()
}

func (s *system) book(id exchange.InstrumentID) *exchange.Book {
	if s.matcher != nil {
		return s.matcher.Book()
	}
	return s.engine.Book(id)
}

func (s *system) invariants() string {
	for _, in := range s.insts {
		if d := s.sameBook(s.book(in.ID()), in); d != "" {
			return fmt.Sprintf("%s: %s", in.Symbol(), d)
		}
	}
	if s.engine != nil {
		if s.engine.Clock() != s.model.Clock() || s.engine.Seq(0) != s.model.Seq(0) {
			return fmt.Sprintf("clock %d, sequence %d, expected %d, %d", s.engine.Clock(), s.engine.Seq(0), s.model.Clock(), s.model.Seq(0))
		}
		for _, in := range s.insts {
			for acct := exchange.AccountID(1); acct <= 6; acct++ {
				have, want := s.engine.Position(acct, in.ID()), s.model.Position(acct, in.ID())
				if have != exchange.Position(want) {
					return fmt.Sprintf("%s: account %d: %+v, expected %+v", in.Symbol(), acct, have, want)
				}
			}
		}
	}
	if s.mode == exchange.FundsLedger {
		for _, asset := range modelAssets {
			for acct := exchange.AccountID(0); acct <= 6; acct++ {
				have, want := s.engine.Balance(acct, asset), s.model.Balance(acct, asset)
				if have != exchange.Balance(want) {
					return fmt.Sprintf("account %d asset %d: %+v, expected %+v", acct, asset, have, want)
				}
			}
		}
	}
	return s.holdsFit()
}

// modelAssets are those of modelInstruments.
var modelAssets = []exchange.AssetID{1, 2, 5}

// holdsFit asserts what must be true of the engine without a model.
func (s *system) holdsFit() string {
	held := map[exchange.AccountID]map[exchange.AssetID]exchange.Amount{}
	for _, in := range s.insts {
		b := s.book(in.ID())
		bid, okB := firstOf(b.Orders(nil, exchange.Buy, 1))
		ask, okA := firstOf(b.Orders(nil, exchange.Sell, 1))
		if okB && okA && bid.Price >= ask.Price {
			return fmt.Sprintf("MATCH-010: crossed at %d and %d", bid.Price, ask.Price)
		}
		live := liveOrders(b)
		if len(live) != b.Len() {
			return fmt.Sprintf("%d live orders, Len %d", len(live), b.Len())
		}
		for _, o := range live {
			if o.OrderQty != o.CumQty+o.LeavesQty || o.LeavesQty <= 0 {
				return fmt.Sprintf("quantities of %+v", o)
			}
			need, ok := in.Need(&exchange.Terms{Side: o.Side, Price: o.Price, LeavesQty: o.LeavesQty, Funds: o.Funds,
				MakerFee: o.MakerFee, TakerFee: o.TakerFee, FeeRemainder: o.FeeRemainder})
			if s.mode == exchange.FundsNone || s.matcher != nil {
				need, ok = 0, true
			}
			if !ok || o.Held != need {
				return fmt.Sprintf("FUNDS-002: held %d, need %d (%v) of %+v", o.Held, need, ok, o)
			}
			asset := in.Base().ID
			if o.Side == exchange.Buy {
				asset = in.Quote().ID
			}
			if held[o.Account] == nil {
				held[o.Account] = map[exchange.AssetID]exchange.Amount{}
			}
			held[o.Account][asset] += o.Held
		}
	}
	if s.mode != exchange.FundsLedger {
		return ""
	}
	for _, asset := range modelAssets {
		for acct := exchange.AccountID(0); acct <= 6; acct++ {
			have := s.engine.Balance(acct, asset)
			if have.Held != held[acct][asset] || have.Available < 0 && acct != 0 {
				return fmt.Sprintf("account %d asset %d: %+v, orders hold %d", acct, asset, have, held[acct][asset])
			}
		}
	}
	return ""
}

func firstOf(orders []exchange.Order) (exchange.Order, bool) {
	if len(orders) == 0 {
		return exchange.Order{}, false
	}
	return orders[0], true
}

// sameBook compares every reading of the book with the model.
func (s *system) sameBook(b *exchange.Book, in *exchange.Instrument) string {
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		levels := b.Levels(nil, side, 0)
		if best, ok := b.Best(side); ok != (len(levels) > 0) || ok && best != levels[0] {
			return fmt.Sprintf("best %+v, %v of %v", best, ok, levels)
		}
		want := s.model.Levels(in.ID(), side)
		if len(levels) != len(want) {
			return fmt.Sprintf("levels %v, expected %v", levels, want)
		}
		for i := range levels {
			if levels[i] != exchange.Level(want[i]) {
				return fmt.Sprintf("level %+v, expected %+v", levels[i], want[i])
			}
		}
		if d := sameLevel(b, side, levels); d != "" {
			return d
		}
		if d := sameOrders(b.Orders(nil, side, 0), s.model.Orders(in.ID(), side)); d != "" {
			return d
		}
	}
	last, traded := b.LastPrice()
	reference, set := b.ReferencePrice()
	if wantLast, wantTraded := s.model.LastPrice(in.ID()); last != wantLast || traded != wantTraded {
		return fmt.Sprintf("last price %d, expected %d", last, wantLast)
	}
	if want, wantSet := s.model.ReferencePrice(in.ID()); reference != want || set != wantSet {
		return fmt.Sprintf("reference price %d, expected %d", reference, want)
	}
	if d := sameOrders(b.Pending(nil), s.model.Pending(in.ID())); d != "" {
		return d
	}
	return sameOrder(b)
}

// sameOrder compares what is read of one order with the lists: by its id, also
// where there is none, by its command, and its place in the queue.
func sameOrder(b *exchange.Book) string {
	live := map[exchange.OrderID]exchange.Order{}
	highest := exchange.OrderID(0)
	var before exchange.Order
	var orders int
	var ahead exchange.Qty
	for _, o := range liveOrders(b) {
		live[o.ID], highest = o, max(highest, o.ID)
		if o.Side != before.Side || o.Price != before.Price || o.Pending {
			orders, ahead = 0, 0
		}
		if n, qty, rests := b.QueuePosition(o.ID); n != orders || qty != ahead || rests == o.Pending {
			return fmt.Sprintf("%d orders with %d ahead (%v), expected %d with %d, of %+v", n, qty, rests, orders, ahead, o)
		}
		if got, ok := b.OrderByCommand(o.CommandID); o.CommandID != (exchange.CommandID{}) && (!ok || got != o) {
			return fmt.Sprintf("by command %+v, %v, expected %+v", got, ok, o)
		}
		before = o
		if !o.Pending {
			orders, ahead = orders+1, ahead+o.LeavesQty
		}
	}
	for id := range highest + 3 {
		want, lives := live[id]
		if got, ok := b.Order(id); ok != lives || got != want {
			return fmt.Sprintf("order %d: %+v, %v, expected %+v", id, got, ok, want)
		}
	}
	return ""
}

// sameLevel compares Level with Levels, also where there is nothing: at the
// prices that are drawn, of orders that only wait or hide among them, and at
// those a hash could take for others.
func sameLevel(b *exchange.Book, side exchange.Side, levels []exchange.Level) string {
	want := map[exchange.Price]exchange.Level{0: {}, -1: {}, -100: {}, 1 << 60: {}, 1<<32 + 100: {}, 1<<63 - 1: {}, -1 << 63: {}}
	for px := exchange.Price(93); px < 108; px++ {
		want[px] = exchange.Level{}
	}
	for _, lv := range levels {
		want[lv.Price] = lv
	}
	for px, lv := range want {
		if got, ok := b.Level(side, px); got != lv || ok != (lv.Orders > 0) {
			return fmt.Sprintf("level at %d: %+v, %v, expected %+v", px, got, ok, lv)
		}
		for _, none := range []exchange.Side{0, 3, 255} {
			if got, ok := b.Level(none, px); ok || got != (exchange.Level{}) {
				return fmt.Sprintf("level of side %d at %d: %+v, %v", none, px, got, ok)
			}
		}
	}
	return ""
}

func sameOrders(got, want []exchange.Order) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d orders, expected %d: %+v, %+v", len(got), len(want), got, want)
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Type == exchange.Limit { // a repriced market-to-limit order has become one
			w.Type = g.Type
		}
		w.MakerFee, w.TakerFee, w.FeeRemainder = g.MakerFee, g.TakerFee, g.FeeRemainder
		if g != w {
			return fmt.Sprintf("order %d\n     is %+v\nexpected %+v", i, g, w)
		}
	}
	return ""
}

// modelModes are the four ways to run the core.
var modelModes = []struct {
	name  string
	mode  exchange.Funds
	alone bool
}{
	{"none", exchange.FundsNone, false},
	{"ledger", exchange.FundsLedger, false},
	{"held", exchange.FundsHeld, false},
	{"matcher", exchange.FundsNone, true},
}

// TestModel holds the engine against the reference under rapid, which shrinks
// what it finds: EVENT-001, EVENT-002, EVENT-003, EVENT-004, MATCH-001,
// MATCH-010, FUNDS-002, FUNDS-010, CMD-003, CMD-004.
func TestModel(t *testing.T) {
	for _, mode := range modelModes {
		t.Run(mode.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := newSystem(rt, mode.mode, mode.alone, 0)
				g := newGenerator(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }, mode.mode, mode.alone)
				g.book = s.book
				for _, c := range s.fund() {
					if d := s.step(c); d != "" {
						rt.Fatal(d)
					}
				}
				for range rapid.IntRange(1, 120).Draw(rt, "commands") {
					if d := s.step(g.next()); d != "" {
						rt.Fatal(d)
					}
				}
			})
		})
	}
}

// checkRandom holds a property against rapid, which shrinks, and against long
// runs from a plain generator. It returns what is wrong.
func checkRandom(t *testing.T, runs int, property func(pick picker) string) {
	t.Helper()
	if *modelSeed == 0 {
		t.Run("rapid", func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				if d := property(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }); d != "" {
					rt.Fatal(d)
				}
			})
		})
	}
	t.Run("seeds", func(t *testing.T) {
		eachSeed(t, runs, func(seed uint64) string { return property(rand.New(rand.NewPCG(seed, 1)).IntN) })
	})
}

// eachSeed runs a test with seeds of its own, or with the one of -model.seed,
// until one of them returns what is wrong.
func eachSeed(t *testing.T, runs int, run func(seed uint64) string) {
	t.Helper()
	if *modelSeed != 0 {
		runs = 1
	}
	for range runs {
		seed := *modelSeed
		if seed == 0 {
			seed = rand.Uint64()>>1 | 1
		}
		if d := run(seed); d != "" {
			t.Fatalf("seed %d: %s\nreplay: go test -run '^%s$' -model.seed=%d .", seed, d, strings.ReplaceAll(t.Name(), "/", "$/^"), seed)
		}
	}
}

func randomRun(t *testing.T, mode exchange.Funds, alone bool, seed uint64, steps int, fault reference.Fault) string {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newSystem(t, mode, alone, fault)
	g := newGenerator(rng.IntN, mode, alone)
	g.book = s.book
	funds := s.fund()
	for i := range len(funds) + steps {
		var c exchange.Command
		if i < len(funds) {
			c = funds[i]
		} else {
			c = g.next()
		}
		if i == steps/2 { // a model that is restored half way goes on alike
			s.model = s.model.Clone()
		}
		if d := s.step(c); d != "" {
			return fmt.Sprintf("command %d: %s", i, d)
		}
	}
	return ""
}

func isOneOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
