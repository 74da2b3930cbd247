package exchange_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// restorable is an Engine or a Matcher.
type restorable interface {
	applier
	AppendSnapshot(dst []byte) []byte
	Hash() [32]byte
	Restore(data []byte) error
}

func newRestorable(t require.TestingT, mode exchange.Funds, alone bool) restorable {
	s := newSystem(t, mode, alone, 0)
	if alone {
		return s.matcher
	}
	return s.engine
}

// stream draws commands for a mode, with deposits first where it needs them.
func stream(t require.TestingT, pick picker, mode exchange.Funds, alone bool, steps int) []exchange.Command {
	s := newSystem(t, mode, alone, 0)
	g := newGenerator(pick, mode, alone)
	g.book = s.book
	cmds := s.fund()
	for i := range len(cmds) + steps {
		if i == len(cmds) {
			cmds = append(cmds, g.next())
		}
		s.got = s.apply.Apply(s.got[:0], &cmds[i])
	}
	return cmds
}

// TestReplay: a snapshot at k with the rest of the commands gives the events
// and the state of the whole run; so does a snapshot of what was restored, and
// so do the commands without the duplicates, which no journal keeps:
// EVENT-006, DEDUP-001.
func TestReplay(t *testing.T) {
	for _, mode := range modelModes {
		t.Run(mode.name, func(t *testing.T) {
			checkRandom(t, 15, func(pick picker) string {
				cmds := stream(t, pick, mode.mode, mode.alone, 50+pick(350))
				first, second := pick(len(cmds)), pick(len(cmds))
				whole, journaled := newRestorable(t, mode.mode, mode.alone), newRestorable(t, mode.mode, mode.alone)
				parts := newRestorable(t, mode.mode, mode.alone)
				sent := map[exchange.CommandID]bool{}
				for i := range cmds {
					if i == first || i == second {
						taken := parts.AppendSnapshot(nil)
						parts = newRestorable(t, mode.mode, mode.alone)
						if err := parts.Restore(taken); err != nil {
							return fmt.Sprintf("before command %d: %v", i, err)
						}
						if !slices.Equal(taken, parts.AppendSnapshot(nil)) {
							return fmt.Sprintf("before command %d: what was restored gives another snapshot", i)
						}
					}
					// A hash takes long: look when it may be a duplicate, and now and then.
					look := i%16 == 0 || sent[cmds[i].ID] || i == len(cmds)-1
					sent[cmds[i].ID] = cmds[i].ID != exchange.CommandID{}
					var before [32]byte
					if look {
						before = whole.Hash()
					}
					want, got := whole.Apply(nil, &cmds[i]), parts.Apply(nil, &cmds[i])
					if !slices.Equal(want, got) {
						return fmt.Sprintf("command %d, %+v\nrestored before %d and %d\n     is %+v\nexpected %+v", i, cmds[i], first, second, got, want)
					}
					duplicate := want[0].Kind == exchange.EventDuplicate
					if !duplicate {
						journaled.Apply(nil, &cmds[i])
					}
					if !look {
						continue
					}
					after := whole.Hash()
					if (before == after) != duplicate {
						return fmt.Sprintf("command %d, %+v: changed nothing: %v, hash as before: %v", i, cmds[i], duplicate, before == after)
					}
					if after != parts.Hash() {
						return fmt.Sprintf("command %d, %+v: restored before %d and %d, has another hash", i, cmds[i], first, second)
					}
					if after != journaled.Hash() {
						return fmt.Sprintf("command %d, %+v: without duplicates, has another hash", i, cmds[i])
					}
				}
				return ""
			})
		})
	}
}

// smallEngine is an engine of a mode with something of everything in it.
func smallEngine(t require.TestingT, mode exchange.Funds) *exchange.Engine {
	e := newModelEngine(t, modelInstruments(t), mode)
	held := func(c exchange.Command) exchange.Command {
		if mode == exchange.FundsHeld {
			c.Held = 60_000
		}
		return c
	}
	iceberg := exchange.LimitOrder(1, 2, exchange.Sell, 102, 9)
	iceberg.DisplayQty, iceberg.ID, iceberg.Time = 2, numbered(7), 1_000
	day := exchange.LimitOrder(3, 1, exchange.Buy, 5, 4)
	day.TimeInForce, day.Expire, day.PostOnly, day.ID = exchange.GTD, 5_000, exchange.PostOnlySlide, numbered(8)
	byFunds := exchange.StopOrder(1, 3, exchange.Buy, 104, 3)
	byFunds.Funds = 20_000
	for _, c := range append((&system{mode: mode}).fund(),
		exchange.SetLimit(1, 2, exchange.LimitOpenOrders, 9), exchange.SetLimit(0, 0, exchange.LimitMessages, 90),
		exchange.SetReferencePrice(1, 100), exchange.SetLimit(1, 0, exchange.LimitCollarUp, 500_000),
		exchange.SetAccountState(4, exchange.AccountCancelOnly), exchange.Kill(3, 4),
		held(iceberg), held(exchange.LimitOrder(1, 1, exchange.Buy, 102, 3)), held(exchange.LimitOrder(1, 1, exchange.Buy, 99, 3)),
		held(day), held(byFunds), held(exchange.StopLimitOrder(1, 1, exchange.Sell, 96, 95, 3))) {
		reason, bad := exchange.Rejected(e.Apply(nil, &c))
		if c.Kind != exchange.KindDeposit {
			require.False(t, bad, "%v: %+v", reason, c)
		}
	}
	return e
}

func smallMatcher(t require.TestingT) *exchange.Matcher {
	s := newSystem(t, exchange.FundsNone, true, 0)
	for _, c := range []exchange.Command{exchange.LimitOrder(1, 1, exchange.Buy, 99, 3), exchange.LimitOrder(1, 2, exchange.Sell, 101, 6),
		exchange.LimitOrder(1, 2, exchange.Buy, 101, 3), exchange.StopLimitOrder(1, 1, exchange.Sell, 96, 95, 3)} {
		_, bad := exchange.Rejected(s.matcher.Apply(nil, &c))
		require.False(t, bad)
	}
	return s.matcher
}

// A Config may list further instruments when it restores: they begin empty and
// trade.
func TestRestoreWithMoreInstruments(t *testing.T) {
	insts := modelInstruments(t)
	for _, mode := range []exchange.Funds{exchange.FundsNone, exchange.FundsLedger, exchange.FundsHeld} {
		for _, place := range []struct{ id, base, quote int }{{2, 5, 2}, {9, 7, 8}} { // of known assets; of new ones
			t.Run(fmt.Sprintf("%s instrument %d", fundsName(mode), place.id), func(t *testing.T) {
				assets := map[int]exchange.Asset{5: eth, 2: usd, 7: {ID: 7, Code: "SOL", Scale: 2}, 8: {ID: 8, Code: "EUR", Scale: 2}}
				third := newInstrument(t, func(s *exchange.InstrumentSpec) {
					s.ID, s.Base, s.Quote = exchange.InstrumentID(place.id), assets[place.base], assets[place.quote]
					s.Tick, s.Lot = dec("0.1"), dec("0.1")
				})
				old := smallEngine(t, mode)
				e := newModelEngine(t, append(slices.Clone(insts), third), mode)
				require.NoError(t, e.Restore(old.AppendSnapshot(nil)))
				for _, in := range insts {
					assert.Equal(t, liveOrders(old.Book(in.ID())), liveOrders(e.Book(in.ID())))
					assert.Equal(t, old.Seq(in.ID()), e.Seq(in.ID()))
				}
				id := exchange.InstrumentID(place.id)
				assert.Zero(t, e.Book(id).Len())
				for _, c := range []exchange.Command{
					exchange.Deposit(1, exchange.AssetID(place.base), 1<<40), exchange.Deposit(2, exchange.AssetID(place.quote), 1<<40),
					{Kind: exchange.KindNewOrder, Instrument: id, Account: 1, Side: exchange.Sell, Type: exchange.Limit, TimeInForce: exchange.GTC, Price: 7, Qty: 5},
					{Kind: exchange.KindNewOrder, Instrument: id, Account: 2, Side: exchange.Buy, Type: exchange.Limit, TimeInForce: exchange.GTC, Price: 8, Qty: 3},
				} {
					if mode == exchange.FundsHeld && c.Kind == exchange.KindNewOrder {
						c.Held = 1 << 40
					}
					events := e.Apply(nil, &c)
					if _, bad := exchange.Rejected(events); bad {
						assert.Equal(t, exchange.KindDeposit, c.Kind)
						assert.NotEqual(t, exchange.FundsLedger, mode)
					}
				}
				assert.Equal(t, uint64(3), e.Seq(id), "accepted, accepted, traded")
				other := newModelEngine(t, append(slices.Clone(insts), third), mode)
				require.NoError(t, other.Restore(e.AppendSnapshot(nil)))
				assert.Equal(t, e.Hash(), other.Hash())
				assert.ErrorIs(t, smallEngine(t, mode).Restore(e.AppendSnapshot(nil)), exchange.ErrSnapshotForeign, "one instrument fewer")
			})
		}
	}
}

// A sound snapshot of something else is refused and changes nothing.
func TestRestoreForeign(t *testing.T) {
	config := func(change func(c *exchange.Config)) exchange.Config {
		c := exchange.Config{Funds: exchange.FundsLedger, Instruments: modelInstruments(t), DedupSpan: 120, DedupCount: modelDedupCount, MaxOrders: modelMaxOrders, MaxAccounts: 4}
		if change != nil {
			change(&c)
		}
		return c
	}
	other := func(change func(s *exchange.InstrumentSpec)) func(c *exchange.Config) {
		return func(c *exchange.Config) {
			spec := c.Instruments[0].Spec()
			change(&spec)
			in, err := exchange.NewInstrument(spec)
			require.NoError(t, err)
			c.Instruments[0] = in
		}
	}
	snapshot := smallEngine(t, exchange.FundsLedger).AppendSnapshot(nil)
	for _, tc := range []struct {
		name   string
		change func(c *exchange.Config)
	}{
		{"Funds none", func(c *exchange.Config) { c.Funds = exchange.FundsNone }},
		{"Funds held", func(c *exchange.Config) { c.Funds = exchange.FundsHeld }},
		{"DedupSpan", func(c *exchange.Config) { c.DedupSpan++ }},
		{"DedupCount", func(c *exchange.Config) { c.DedupCount++ }},
		{"MaxOrders", func(c *exchange.Config) { c.MaxOrders++ }},
		{"MaxAccounts", func(c *exchange.Config) { c.MaxAccounts++ }},
		{"one instrument fewer", func(c *exchange.Config) { c.Instruments = c.Instruments[:1] }},
		{"symbol", other(func(s *exchange.InstrumentSpec) { s.Symbol = "BTC-USDT" })},
		{"instrument id", other(func(s *exchange.InstrumentSpec) { s.ID = 2 })},
		{"asset id", other(func(s *exchange.InstrumentSpec) { s.Quote.ID = 3 })},
		{"asset code", other(func(s *exchange.InstrumentSpec) { s.Quote.Code = "EUR" })},
		{"asset scale", other(func(s *exchange.InstrumentSpec) { s.Quote.Scale++ })},
		{"tick", other(func(s *exchange.InstrumentSpec) { s.Tick = dec("0.2") })},
		{"lot", other(func(s *exchange.InstrumentSpec) { s.Lot = dec("0.02"); s.MinQty = dec("0.02") })},
		{"price limit", other(func(s *exchange.InstrumentSpec) { s.MaxPrice = dec("12.1") })},
		{"fee", other(func(s *exchange.InstrumentSpec) { s.TakerFee = dec("0.04") })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := exchange.NewEngine(config(tc.change))
			require.NoError(t, err)
			before := e.Hash()
			assert.ErrorIs(t, e.Restore(snapshot), exchange.ErrSnapshotForeign)
			assert.Equal(t, before, e.Hash())
		})
	}
	e, m := smallEngine(t, exchange.FundsLedger), smallMatcher(t)
	hashes := [][32]byte{e.Hash(), m.Hash()}
	newer := slices.Clone(snapshot)
	binary.LittleEndian.PutUint16(newer[4:], 2)
	assert.ErrorIs(t, e.Restore(resealed(newer)), exchange.ErrSnapshotForeign, "another version")
	assert.ErrorIs(t, e.Restore(m.AppendSnapshot(nil)), exchange.ErrSnapshotForeign, "a matcher into an engine")
	assert.ErrorIs(t, m.Restore(snapshot), exchange.ErrSnapshotForeign, "an engine into a matcher")
	for _, cfg := range []exchange.MatcherConfig{{DedupSpan: 121, DedupCount: modelDedupCount, MaxOrders: modelMaxOrders},
		{DedupSpan: 120, DedupCount: modelDedupCount + 1, MaxOrders: modelMaxOrders}, {DedupSpan: 120, DedupCount: modelDedupCount}} {
		assert.ErrorIs(t, newMatcher(t, m.Book().Instrument(), cfg).Restore(m.AppendSnapshot(nil)), exchange.ErrSnapshotForeign)
	}
	assert.ErrorIs(t, newMatcher(t, modelInstruments(t)[1], exchange.MatcherConfig{DedupSpan: 120, DedupCount: modelDedupCount, MaxOrders: modelMaxOrders}).
		Restore(m.AppendSnapshot(nil)), exchange.ErrSnapshotForeign)
	assert.NoError(t, e.Restore(resealed(slices.Clone(snapshot))))
	assert.Equal(t, hashes, [][32]byte{e.Hash(), m.Hash()})
}

// Where a snapshot has its parts: magic, version, kind, length, body, checksum.
const (
	sealHeader  = 4 + 2 + 1 + 8
	sealTrailer = 4
)

// resealed makes the length and the checksum of a snapshot right.
func resealed(data []byte) []byte {
	if len(data) < sealHeader+sealTrailer {
		return data
	}
	end := len(data) - sealTrailer
	binary.LittleEndian.PutUint64(data[sealHeader-8:], uint64(end-sealHeader))
	binary.LittleEndian.PutUint32(data[end:], crc32.Checksum(data[:end], crc32.MakeTable(crc32.Castagnoli)))
	return data
}

// Each flipped byte and each missing tail is noticed and changes nothing.
func TestRestoreDamaged(t *testing.T) {
	for _, r := range []restorable{smallEngine(t, exchange.FundsLedger), smallEngine(t, exchange.FundsHeld), smallMatcher(t)} {
		t.Run(fmt.Sprintf("%T", r), func(t *testing.T) {
			sound, hash := r.AppendSnapshot(nil), r.Hash()
			refused := func(what string, at int, data []byte) {
				if err := r.Restore(data); !isOneOf(err, exchange.ErrSnapshotDamaged, exchange.ErrSnapshotForeign) {
					t.Errorf("%s at %d of %d: %v", what, at, len(sound), err)
				}
				if r.Hash() != hash {
					t.Fatalf("%s at %d of %d changed the state", what, at, len(sound))
				}
			}
			for i := range sound {
				refused("cut off", i, sound[:i])
				for _, bits := range []byte{1, 0x80, 0xff} {
					data := slices.Clone(sound)
					data[i] ^= bits
					refused("flipped", i, data)
				}
			}
			refused("one byte more", len(sound), append(slices.Clone(sound), 0))
			refused("nothing", 0, nil)
			require.NoError(t, r.Restore(sound))
			assert.Equal(t, hash, r.Hash())
			// What is cut off or appended under a right checksum is noticed as well.
			body := sound[sealHeader : len(sound)-sealTrailer]
			for i := range body {
				data := append(slices.Clone(sound[:sealHeader+i]), 0, 0, 0, 0)
				refused("body cut off", i, resealed(data))
			}
			refused("body with more", len(body), resealed(append(slices.Clone(sound), 0)))
		})
	}
}

// Engines of the same Config and commands have the same hash, whatever slots
// and tables their orders went through.
func TestHash(t *testing.T) {
	one, other := smallEngine(t, exchange.FundsLedger), smallEngine(t, exchange.FundsLedger)
	assert.Equal(t, one.Hash(), other.Hash())
	assert.Equal(t, one.AppendSnapshot([]byte("x")), append([]byte("x"), other.AppendSnapshot(nil)...))
	c := exchange.LimitOrder(1, 1, exchange.Buy, 97, 1)
	one.Apply(nil, &c)
	assert.NotEqual(t, one.Hash(), other.Hash())
	other.Apply(nil, &c)
	assert.Equal(t, one.Hash(), other.Hash())
	assert.NotEqual(t, smallEngine(t, exchange.FundsNone).Hash(), smallEngine(t, exchange.FundsHeld).Hash())
}

// TestRestoreKeepsBooks shows that a Book taken before a restore reads the
// restored state.
func TestRestoreKeepsBooks(t *testing.T) {
	e := newModelEngine(t, modelInstruments(t), exchange.FundsNone)
	book := e.Book(1)
	empty := e.AppendSnapshot(nil)
	order := exchange.LimitOrder(1, 1, exchange.Buy, 100, 5)
	e.Apply(nil, &order)
	full := e.AppendSnapshot(nil)
	require.NoError(t, e.Restore(empty))
	require.Zero(t, book.Len())
	require.NoError(t, e.Restore(full))
	best, ok := book.Best(exchange.Buy)
	require.True(t, ok)
	require.Equal(t, exchange.Level{Price: 100, Qty: 5, Orders: 1}, best)
	require.Same(t, book, e.Book(1))
	e.Apply(nil, &order)
	best, _ = book.Best(exchange.Buy)
	require.Equal(t, exchange.Qty(10), best.Qty)
}
