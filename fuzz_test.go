package exchange_test

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// fuzzBytes hands out the bytes of a fuzz input, then zeros.
type fuzzBytes struct{ left []byte }

func (b *fuzzBytes) byte() byte {
	if len(b.left) == 0 {
		return 0
	}
	v := b.left[0]
	b.left = b.left[1:]
	return v
}

// number reads a small number from one byte, one at an edge, or eight bytes as
// they are.
func (b *fuzzBytes) number(usual int64, span byte) int64 {
	switch v := b.byte(); {
	case v == 0:
		return usual
	case v < 200:
		return usual + int64(v%span)
	case v < 200+byte(len(wild)):
		return wild[v-200]
	default:
		var eight [8]byte
		for i := range eight {
			eight[i] = b.byte()
		}
		return int64(binary.LittleEndian.Uint64(eight[:]))
	}
}

// command reads a command with something in every field. Zero bytes are
// whatever is usual for a limit order.
func (b *fuzzBytes) command(now *exchange.Time) exchange.Command {
	*now += exchange.Time(b.byte() % 16)
	c := exchange.Command{
		Kind:            exchange.CommandKind(b.number(1, 19)),
		Instrument:      exchange.InstrumentID(b.number(1, 4)),
		Account:         exchange.AccountID(b.number(1, 4)),
		ID:              numbered(int(b.number(0, 64))),
		Time:            *now - exchange.Time(b.number(0, 200)),
		Side:            exchange.Side(b.number(1, 2)),
		Type:            exchange.OrderType(b.number(1, 7)),
		TimeInForce:     exchange.TimeInForce(b.number(1, 5)),
		Price:           exchange.Price(b.number(95, 12)),
		Qty:             exchange.Qty(b.number(3, 30)),
		OrderID:         exchange.OrderID(b.number(0, 40)),
		Held:            exchange.Amount(b.number(0, 2)),
		StopPrice:       exchange.Price(b.number(0, 110)),
		SelfTrade:       exchange.SelfTradePrevention(b.number(0, 5)),
		DisplayQty:      exchange.Qty(b.number(0, 9)),
		MinQty:          exchange.Qty(b.number(0, 9)),
		PostOnly:        exchange.PostOnly(b.number(0, 3)),
		Expire:          exchange.Time(b.number(0, 199)),
		Funds:           exchange.Amount(b.number(0, 199)),
		OrigID:          numbered(int(b.number(0, 64))),
		Group:           uint32(b.number(0, 3)),
		Asset:           exchange.AssetID(b.number(0, 6)),
		Limit:           exchange.LimitKind(b.number(0, 11)),
		Value:           b.number(0, 199),
		AccountState:    exchange.AccountState(b.number(0, 4)),
		InstrumentState: exchange.InstrumentState(b.number(0, 4)),
		MakerFee:        exchange.FeeRate(b.number(0, 199)),
		TakerFee:        exchange.FeeRate(b.number(0, 199)),
	}
	switch flags := b.byte(); {
	case flags&1 != 0:
		c.Hidden = true
	case flags&2 != 0:
		c.PriceIsDistance = true
	}
	if c.Expire != 0 && c.Expire < 200 {
		c.Expire += *now
	}
	if c.Funds > 0 && c.Funds < 200 {
		c.Funds *= 1000
	}
	if c.Held == 1 {
		c.Held = 1 << 20
	}
	return c
}

// FuzzApply: whatever the commands are, the engine agrees with the reference,
// keeps its invariants and does not panic.
func FuzzApply(f *testing.F) {
	limit := make([]byte, 30) // one limit order
	void, named := slices.Clone(limit), slices.Clone(limit)
	void[1], void[4], void[12], named[4] = 18, 7, 1, 7 // kind, id, held; the same id
	for mode := range byte(len(modelModes)) {
		f.Add(mode, slices.Repeat(limit, 3))
		f.Add(mode, slices.Concat(void, named, void)) // a command that comes too late
		f.Add(mode, slices.Concat(named, void))
		for seed := range uint64(4) {
			rng := rand.New(rand.NewPCG(seed, uint64(mode)))
			data := make([]byte, 900)
			for i := range data {
				if rng.IntN(3) == 0 {
					data[i] = byte(rng.IntN(256))
				}
			}
			f.Add(mode, data)
		}
	}
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		m := modelModes[int(mode)%len(modelModes)]
		s := newSystem(t, m.mode, m.alone, 0)
		for _, c := range s.fund() {
			require.Empty(t, s.step(c))
		}
		b, now := fuzzBytes{data}, exchange.Time(1000)
		for range 64 {
			if len(b.left) == 0 {
				break
			}
			if d := s.step(b.command(&now)); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// FuzzRestore: no bytes make Restore panic, or let it change an engine that
// refuses them. A state that it takes is whole: it gives the same bytes again,
// keeps the invariants, and bears commands.
func FuzzRestore(f *testing.F) {
	for mode, m := range modelModes {
		for seed := range uint64(3) {
			r := newRestorable(f, m.mode, m.alone)
			for _, c := range stream(f, rand.New(rand.NewPCG(seed, 1)).IntN, m.mode, m.alone, 30+60*int(seed)) {
				r.Apply(nil, &c)
			}
			f.Add(byte(mode), true, r.AppendSnapshot(nil))
			f.Add(byte(mode), false, r.AppendSnapshot(nil))
		}
	}
	for mode, funds := range []exchange.Funds{exchange.FundsNone, exchange.FundsLedger, exchange.FundsHeld} {
		f.Add(byte(mode), true, smallEngine(f, funds).AppendSnapshot(nil))
	}
	f.Add(byte(3), true, smallMatcher(f).AppendSnapshot(nil))
	f.Fuzz(func(t *testing.T, mode byte, seal bool, data []byte) {
		if seal { // so that it goes deep
			data = resealed(slices.Clone(data))
		}
		restoreForged(t, mode, data)
	})
}

// restoreForged restores any bytes and returns whether they were taken.
func restoreForged(t *testing.T, mode byte, data []byte) bool {
	m := modelModes[int(mode)%len(modelModes)]
	s := newSystem(t, m.mode, m.alone, 0)
	var r restorable = s.engine
	if m.alone {
		r = s.matcher
	}
	before := r.Hash()
	if err := r.Restore(data); err != nil {
		if !isOneOf(err, exchange.ErrSnapshotDamaged, exchange.ErrSnapshotForeign) {
			t.Fatalf("an error of no kind: %v", err)
		}
		if r.Hash() != before {
			t.Fatal("refused, and yet changed")
		}
		return false
	}
	again := r.AppendSnapshot(nil)
	if !slices.Equal(again, data) && !s.listsMore() {
		t.Fatalf("restored\n%x\nwhich gives\n%x", data, again)
	}
	other := newRestorable(t, m.mode, m.alone)
	if err := other.Restore(again); err != nil {
		t.Fatalf("its own snapshot is refused: %v", err)
	}
	if d := s.holdsFit(); d != "" {
		t.Fatal(d)
	}
	h := fnv.New64()
	h.Write(data)
	g := newGenerator(rand.New(rand.NewPCG(h.Sum64(), 1)).IntN, m.mode, m.alone)
	g.book, g.now = s.book, max(1000, s.clock())
	for range 50 {
		c := g.next()
		s.got, s.want = r.Apply(s.got[:0], &c), other.Apply(s.want[:0], &c)
		if !slices.Equal(s.got, s.want) {
			t.Fatalf("restored twice, and different: %+v\n%+v\n%+v", c, s.got, s.want)
		}
		if d := s.holdsFit(); d != "" {
			t.Fatalf("%+v: %s", c, d)
		}
	}
	return true
}

// TestRestoreForged: a snapshot in which somebody changed a byte and made the
// checksum right is refused, or gives an engine that works.
func TestRestoreForged(t *testing.T) {
	for mode, m := range modelModes {
		if m.mode == exchange.FundsNone && !m.alone {
			continue // those of FundsLedger hold all that those without funds do
		}
		t.Run(m.name, func(t *testing.T) {
			sound := smallMatcher(t).AppendSnapshot(nil)
			if !m.alone {
				sound = smallEngine(t, m.mode).AppendSnapshot(nil)
			}
			taken := 0
			for i := sealHeader + mode%2; i < len(sound)-sealTrailer; i += 2 {
				data := slices.Clone(sound)
				data[i] ^= 1 << (i % 8)
				if restoreForged(t, byte(mode), resealed(data)) {
					taken++
				}
			}
			t.Logf("%d of %d bytes taken", taken, len(sound)/2)
		})
	}
}

// listsMore reports whether an instrument of the engine is as new: the
// snapshot may not have had it.
func (s *system) listsMore() bool {
	for _, in := range s.insts {
		if s.matcher == nil && s.engine.Seq(in.ID()) == 0 && s.engine.Book(in.ID()).Len() == 0 {
			return true
		}
	}
	return false
}

func (s *system) clock() exchange.Time {
	if s.matcher != nil {
		return s.matcher.Clock()
	}
	return s.engine.Clock()
}

// FuzzDecimal: a text is a number exactly when exact arithmetic can read it as
// plain notation, and what is accepted comes out as it went in.
func FuzzDecimal(f *testing.F) {
	for _, text := range []string{"0.043", "2.2504", "17.77", "0", "-0", "-1.5", "1e3", "1e999999999", "NaN", "Inf", "+1", ".5", "5.", "0x1p4", "1_0",
		"1152921504606846976", "1152921504606846977", "9223372036854775808", "0.000000000000000001", strings.Repeat("9", 64), strings.Repeat("1", 65), "٣", "1 ", "\x00"} {
		f.Add(text)
	}
	in := newInstrument(f, func(s *exchange.InstrumentSpec) {
		s.Tick, s.Lot, s.Quote.Scale, s.Base.Scale = dec("0.05"), dec("0.003"), 5, 3
	})
	f.Fuzz(func(t *testing.T, text string) {
		d, err := exchange.ParseDecimal("Text", text)
		exact, plain := new(big.Rat), len(text) <= exchange.MaxDecimalLen && strings.Trim(text, "-.0123456789") == ""
		if plain {
			_, plain = exact.SetString(text)
			plain = plain && strings.Trim(text[:1], "-0123456789") == "" && !strings.Contains(text, "-.") && !strings.HasSuffix(text, ".")
		}
		if (err == nil) != plain {
			t.Fatalf("%q: %v, expected a number: %v", text, err, plain)
		}
		p, perr := in.ParsePrice(text)
		q, qerr := in.ParseQty(text)
		for _, err := range []error{err, perr, qerr} {
			var fe *exchange.FieldError
			if err != nil && !errors.As(err, &fe) {
				t.Fatalf("%q: %v is no FieldError", text, err)
			}
		}
		if err != nil {
			if perr == nil || qerr == nil || p != 0 || q != 0 {
				t.Fatalf("%q is no number, but a price or a quantity", text)
			}
			return
		}
		if d.Rat().Cmp(exact) != 0 {
			t.Fatalf("%q became %s", text, d)
		}
		check := func(n int64, err error, step, back decimal.Decimal, most int64) {
			steps := new(big.Rat).Quo(exact, step.Rat())
			want := steps.IsInt() && steps.Sign() > 0 && steps.Num().Cmp(big.NewInt(most)) <= 0
			if want != (err == nil) {
				t.Fatalf("%q by %s: %v, expected to be taken: %v", text, step, err, want)
			}
			if want && (steps.Num().Int64() != n || back.Rat().Cmp(exact) != 0) {
				t.Fatalf("%q by %s: %d steps, back %s", text, step, n, back)
			}
		}
		check(int64(p), perr, in.Spec().Tick, in.PriceDecimal(p), int64(exchange.MaxPrice))
		check(int64(q), qerr, in.Spec().Lot, in.QtyDecimal(q), int64(exchange.MaxAmount)/3)
	})
}
