package exchange_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// Bad input: every field of every kind of command at its edges and beyond.
// Commands are in the words of transcripts.

// badInputStage has limits on everything and one order of each kind.
func badInputStage(t *testing.T) *stage {
	s := newStage(t, strings.Fields("engine ledger minprice=50 maxprice=150 minqty=2 maxqty=2500 minnotional=200 maxnotional=300000 "+
		"maker=-100 taker=200 dedupspan=100 dedupcount=5 maxorders=6 maxaccounts=3"))
	for _, line := range []string{
		"a1 deposit 1000000 usd", "a1 deposit 10000 btc", "a2 deposit 10000 btc",
		"a1 buy 10@100 id=rest at=450", // 1
		"a1 sell 20@110 show=5",        // 2
		"a1 buy 5@120 stop=130 gtd=1000",
		"a2 sell 10@105", // 4
		"a1 buy 3@105",   // 5: trades, so there is a last price and a position
		"time 500", "limit orderqty 2000 id=seen at=500", "reference 100",
	} {
		_, refused := exchange.Rejected(s.must(line))
		require.False(t, refused, line)
	}
	return s
}

// must applies a line and returns its events.
func (s *stage) must(line string) []exchange.Event {
	cmd, err := parseCommand(strings.Fields(line))
	require.NoError(s.t, err, line)
	s.apply(&cmd)
	return s.events
}

// state is all that can be read of an engine but its sequence numbers.
func (s *stage) state() string {
	var b strings.Builder
	for _, id := range []exchange.InstrumentID{1, 2} {
		book := s.book(id)
		last, _ := book.LastPrice()
		reference, _ := book.ReferencePrice()
		fmt.Fprintln(&b, id, last, reference, book.Len(), book.Pending(nil))
		for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
			fmt.Fprintln(&b, book.Levels(nil, side, 0), book.Orders(nil, side, 0))
		}
		for acct := range exchange.AccountID(4) {
			fmt.Fprintln(&b, acct, s.engine.Position(acct, id), s.engine.Balance(acct, exchange.AssetID(id)), s.engine.Balance(acct, 3))
		}
	}
	return b.String()
}

// TestBadInput shows the reason for every bad value, and for the last good one
// on the way to it that it is good: CMD-001 to CMD-006, ORDER-001 to
// ORDER-014, AMEND-001, REDUCE-001, REPLACE-002, ADMIN-001 to ADMIN-005,
// TIME-003, DEDUP-001, DEDUP-003, FUNDS-008, MASS-001, VOID-001. A refused command
// changes nothing that can be read, and gives one event: CMD-003.
func TestBadInput(t *testing.T) {
	for _, tc := range badInput {
		line, want := tc.line, tc.want
		t.Run(line, func(t *testing.T) {
			s := badInputStage(t)
			before, clock := s.state(), s.clock()
			events := s.must(line)
			got, refused := exchange.Rejected(events)
			assert.Equal(t, want, got, "got %q, expected %q", got, want)
			assert.Equal(t, want != 0, refused)
			if !refused {
				return
			}
			assert.Len(t, events, 1)
			assert.Equal(t, before, s.state())
			if !strings.Contains(line, " at=600") { // brings the time, which stays: CMD-003
				assert.Equal(t, clock, s.clock())
			}
		})
	}
}

// TestWrongState shows which states refuse which order messages: CMD-006,
// KILL-001, ADMIN-002, ADMIN-003.
func TestWrongState(t *testing.T) {
	adds := []string{"a1 buy 5@100", "a1 amend #1 9", "a1 amend #99 9", "a1 replace #1 9", "a1 replace #99 9"}
	takes := []string{"a1 reduce #1 1", "a1 cancel #1"}
	for _, tc := range []struct {
		state      string
		add, takes exchange.Reason
	}{
		{"state trading", 0, 0},
		{"state cancelonly", exchange.InstrumentNotTrading, 0},
		{"state halted", exchange.InstrumentNotTrading, exchange.InstrumentNotTrading},
		{"state halted inst=2", 0, 0},
		{"a1 state active", 0, 0},
		{"a1 state cancelonly", exchange.AccountNotActive, 0},
		{"a1 state suspended", exchange.AccountNotActive, exchange.AccountNotActive},
		{"a2 state suspended", 0, 0},
		{"kill", exchange.KillSwitchEngaged, exchange.UnknownOrder}, // the order is gone
		{"a1 kill", exchange.KillSwitchEngaged, exchange.UnknownOrder},
		{"a1 kill inst=0", exchange.KillSwitchEngaged, exchange.UnknownOrder},
		{"kill inst=0", exchange.KillSwitchEngaged, exchange.UnknownOrder},
		{"a2 kill", 0, 0},
		{"kill inst=2", 0, 0},
	} {
		t.Run(tc.state, func(t *testing.T) {
			for _, line := range append(adds, takes...) {
				s := badInputStage(t)
				s.must(tc.state)
				before := s.state()
				want := tc.add
				switch {
				case strings.Contains(line, "cancel"), strings.Contains(line, "reduce"):
					want = tc.takes
				case want == 0 && strings.Contains(line, "#99"):
					want = exchange.UnknownOrder
				}
				events := s.must(line)
				got, refused := exchange.Rejected(events)
				assert.Equal(t, want, got, "%s: got %q, expected %q", line, got, want)
				if refused {
					assert.Len(t, events, 1)
					assert.Equal(t, before, s.state())
				}
			}
		})
	}
}

// TestBadInputAnyField sets every field of every kind of command to extreme
// values, one at a time: nothing panics, every command gives an event, and one
// that is refused changes nothing. CMD-003, CMD-004.
func TestBadInputAnyField(t *testing.T) {
	lines := []string{
		"a1 buy 5@100", "a1 buy 5 market worst=100", "a1 buy market funds=500", "a1 buy 5 mtl worst=120", "a1 buy 5@120 stop=140", "a1 sell 5 take=140",
		"a1 sell 20@111 show=5", "a1 cancel #1", "a1 reduce #1 2", "a1 amend #1 9@101", "a1 amend #3 stop=131", "a1 replace #1 9@101",
		"a1 masscancel", "a1 kill", "a1 lift", "time 500", "endday", "reference 100", "last 100", "a1 deposit 5 usd", "a1 withdraw 5 usd",
		"a1 limit orderqty 5", "limit maxprice 140", "fees 10 20", "a1 state active", "state trading", "a1 void id=new",
	}
	extremes := []int64{0, 1, -1, 2, 3, 9, math.MaxInt8, math.MaxInt16, math.MaxInt32, math.MinInt32, 1 << 60, 1<<60 + 1, 1<<61 + 1, 1<<62 + 1,
		math.MaxInt64, math.MinInt64}
	fields := reflect.TypeFor[exchange.Command]()
	s := badInputStage(t)
	snapshot, before := s.engine.AppendSnapshot(nil), s.state()
	for _, line := range lines {
		good, err := parseCommand(strings.Fields(line))
		require.NoError(t, err)
		for i := range fields.NumField() {
			for _, extreme := range extremes {
				cmd := good
				f := reflect.ValueOf(&cmd).Elem().Field(i)
				switch {
				case f.CanInt():
					f.SetInt(extreme)
				case f.CanUint():
					f.SetUint(uint64(extreme))
				case f.Kind() == reflect.Bool:
					f.SetBool(extreme != 0)
				default:
					f.Set(reflect.ValueOf(exchange.CommandID{byte(extreme)}))
				}
				if fields.Field(i).Name == "Time" && extreme > 900 {
					continue // expires an order; TIME-002 has transcripts
				}
				s.events = s.engine.Apply(s.events[:0], &cmd)
				require.NotEmpty(t, s.events)
				for _, ev := range s.events {
					if ev.Qty < 0 || ev.LeavesQty < 0 || ev.MakerLeavesQty < 0 || ev.OrderQty < 0 || ev.Amount < 0 {
						require.Fail(t, "negative", "%+v: %+v", cmd, ev)
					}
				}
				if _, refused := exchange.Rejected(s.events); !refused {
					require.NoError(t, s.engine.Restore(snapshot))
				} else if after := s.state(); len(s.events) != 1 || after != before {
					require.Equal(t, before, after, "%+v: %+v", cmd, s.events)
					require.Len(t, s.events, 1, "%+v", cmd)
				}
			}
		}
	}
}

// TestBadConfig shows the bounds of Config: within them an engine is made,
// beyond them the error is ErrConfig and names field and value.
func TestBadConfig(t *testing.T) {
	good := func() exchange.Config {
		cfg, _ := stageConfig(t, nil)
		return cfg
	}
	for _, tc := range []struct {
		name string
		set  func(*exchange.Config)
		want string // of the error, "" when it is good
	}{
		{"as it is", func(*exchange.Config) {}, ""},
		{"Funds 0", func(c *exchange.Config) { c.Funds = 0 }, "Funds 0"},
		{"Funds 3", func(c *exchange.Config) { c.Funds = exchange.FundsHeld }, ""},
		{"Funds 4", func(c *exchange.Config) { c.Funds = 4 }, "Funds 4"},
		{"no instruments", func(c *exchange.Config) { c.Instruments = nil }, "Instruments"},
		{"a nil instrument", func(c *exchange.Config) { c.Instruments[1] = nil }, "Instruments nil: expected an instrument"},
		{"an instrument twice", func(c *exchange.Config) { c.Instruments[1] = c.Instruments[0] }, "id 1 twice"},
		{"an asset id for two assets", func(c *exchange.Config) {
			c.Instruments[1] = instrumentOf(t, 2, exchange.Asset{ID: 1, Code: "eth"}, stageUSD)
		}, "asset id 1 is btc with scale 0 and eth with scale 0"},
		{"an asset with two scales", func(c *exchange.Config) {
			c.Instruments[1] = instrumentOf(t, 2, stageETH, exchange.Asset{ID: 2, Code: "usd", Scale: 2})
		}, "asset id 2 is usd with scale 0 and usd with scale 2"},
		{"DedupSpan -1", func(c *exchange.Config) { c.DedupSpan = -1 }, "DedupSpan -1"},
		{"DedupSpan 1", func(c *exchange.Config) { c.DedupSpan = 1 }, ""},
		{"DedupSpan 2^63-1", func(c *exchange.Config) { c.DedupSpan = math.MaxInt64 }, ""},
		{"DedupCount -1", func(c *exchange.Config) { c.DedupCount = -1 }, "DedupCount -1"},
		{"DedupCount 1", func(c *exchange.Config) { c.DedupCount = 1 }, ""},
		{"DedupCount MaxDedupCount", func(c *exchange.Config) { c.DedupCount = exchange.MaxDedupCount }, ""},
		{"DedupCount MaxDedupCount+1", func(c *exchange.Config) { c.DedupCount = exchange.MaxDedupCount + 1 }, "DedupCount 4194305"},
		{"MaxOrders -1", func(c *exchange.Config) { c.MaxOrders = -1 }, "MaxOrders -1"},
		{"MaxOrders MaxOrdersMax", func(c *exchange.Config) { c.MaxOrders = exchange.MaxOrdersMax }, ""},
		{"MaxOrders MaxOrdersMax+1", func(c *exchange.Config) { c.MaxOrders = exchange.MaxOrdersMax + 1 }, "MaxOrders 2147483649"},
		{"MaxAccounts -1", func(c *exchange.Config) { c.MaxAccounts = -1 }, "MaxAccounts -1"},
		{"MaxAccounts MaxAccountsMax", func(c *exchange.Config) { c.MaxAccounts = exchange.MaxAccountsMax }, ""},
		{"MaxAccounts MaxAccountsMax+1", func(c *exchange.Config) { c.MaxAccounts = exchange.MaxAccountsMax + 1 }, "MaxAccounts 2147483649"},
		{"two faults", func(c *exchange.Config) { c.MaxAccounts, c.MaxOrders = -5, -6 }, "MaxAccounts -5"},
		{"two faults, the other", func(c *exchange.Config) { c.MaxAccounts, c.MaxOrders = -5, -6 }, "MaxOrders -6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good()
			tc.set(&cfg)
			e, err := exchange.NewEngine(cfg)
			if tc.want == "" {
				require.NoError(t, err)
				cmd := exchange.LimitOrder(1, 1, exchange.Buy, 100, 1)
				cmd.Held = 100
				if cfg.Funds != exchange.FundsHeld {
					cmd.Held = 0
				}
				_, refused := exchange.Rejected(e.Apply(nil, &cmd))
				assert.False(t, refused)
				return
			}
			require.ErrorIs(t, err, exchange.ErrConfig)
			assert.ErrorContains(t, err, tc.want)
			assert.Nil(t, e)
		})
	}
}

// TestBadMatcherConfig shows the same for a Matcher alone: what both have is
// refused in the same words.
func TestBadMatcherConfig(t *testing.T) {
	inst := instrumentOf(t, 1, stageBTC, stageUSD)
	for _, tc := range []struct {
		cfg  exchange.MatcherConfig
		want string // of the error, "" when it is good
	}{
		{exchange.MatcherConfig{}, ""},
		{exchange.MatcherConfig{DedupSpan: 1, DedupCount: 1, MaxOrders: 1}, ""},
		{exchange.MatcherConfig{DedupSpan: math.MaxInt64, DedupCount: exchange.MaxDedupCount, MaxOrders: exchange.MaxOrdersMax}, ""},
		{exchange.MatcherConfig{DedupSpan: -1}, "DedupSpan -1: expected 0 to 9223372036854775807"},
		{exchange.MatcherConfig{DedupSpan: math.MinInt64}, "DedupSpan -9223372036854775808: expected 0 to 9223372036854775807"},
		{exchange.MatcherConfig{DedupCount: -1}, "DedupCount -1: expected 0 to 4194304"},
		{exchange.MatcherConfig{DedupCount: exchange.MaxDedupCount + 1}, "DedupCount 4194305: expected 0 to 4194304"},
		{exchange.MatcherConfig{MaxOrders: -1}, "MaxOrders -1: expected 0 to 2147483648"},
		{exchange.MatcherConfig{MaxOrders: exchange.MaxOrdersMax + 1}, "MaxOrders 2147483649: expected 0 to 2147483648"},
		{exchange.MatcherConfig{DedupSpan: -2, DedupCount: -3, MaxOrders: -4}, "DedupSpan -2: expected 0 to 9223372036854775807\n" +
			"invalid config: DedupCount -3: expected 0 to 4194304\ninvalid config: MaxOrders -4: expected 0 to 2147483648"},
	} {
		m, err := exchange.NewMatcher(inst, tc.cfg)
		_, engineErr := exchange.NewEngine(exchange.Config{Funds: exchange.FundsNone, Instruments: []*exchange.Instrument{inst},
			DedupSpan: tc.cfg.DedupSpan, DedupCount: tc.cfg.DedupCount, MaxOrders: tc.cfg.MaxOrders})
		if tc.want == "" {
			require.NoError(t, err)
			require.NoError(t, engineErr)
			cmd := exchange.LimitOrder(1, 1, exchange.Buy, 100, 1)
			_, refused := exchange.Rejected(m.Apply(nil, &cmd))
			assert.False(t, refused)
			assert.NoError(t, m.Restore(m.AppendSnapshot(nil)))
			continue
		}
		assert.ErrorIs(t, err, exchange.ErrConfig)
		assert.EqualError(t, err, "invalid config: "+tc.want)
		assert.EqualError(t, engineErr, err.Error())
		assert.Nil(t, m)
	}
	m, err := exchange.NewMatcher(nil, exchange.MatcherConfig{})
	assert.ErrorIs(t, err, exchange.ErrConfig)
	assert.EqualError(t, err, "invalid config: Instrument nil: expected an instrument")
	assert.Nil(t, m)
}

func instrumentOf(t *testing.T, id exchange.InstrumentID, base, quote exchange.Asset) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: id, Symbol: "X", Base: base, Quote: quote, Tick: dec("1"), Lot: dec("1")})
	require.NoError(t, err)
	return in
}

// TestMaxID shows that the highest ids work and that one more is refused.
func TestMaxID(t *testing.T) {
	spec := exchange.InstrumentSpec{ID: exchange.MaxID, Symbol: "X", Base: exchange.Asset{ID: exchange.MaxID, Code: "x"}, Quote: stageUSD,
		Tick: dec("1"), Lot: dec("1")}
	in, err := exchange.NewInstrument(spec)
	require.NoError(t, err)
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsLedger, Instruments: []*exchange.Instrument{in}})
	require.NoError(t, err)
	for _, cmd := range []exchange.Command{
		exchange.Deposit(1, exchange.MaxID, 5),
		exchange.LimitOrder(exchange.MaxID, 1, exchange.Sell, 100, 5),
		exchange.SetLastPrice(exchange.MaxID, 7),
	} {
		_, refused := exchange.Rejected(e.Apply(nil, &cmd))
		assert.False(t, refused)
	}
	assert.Equal(t, exchange.Balance{Held: 5}, e.Balance(1, exchange.MaxID))
	for _, cmd := range []exchange.Command{exchange.SetLastPrice(exchange.MaxID+1, 7), exchange.SetLastPrice(math.MaxUint32, 7)} {
		reason, _ := exchange.Rejected(e.Apply(nil, &cmd))
		assert.Equal(t, exchange.UnknownInstrument, reason)
	}
	for _, cmd := range []exchange.Command{exchange.Deposit(1, exchange.MaxID+1, 5), exchange.Deposit(1, math.MaxUint32, 5), exchange.Deposit(1, 1, 5)} {
		reason, _ := exchange.Rejected(e.Apply(nil, &cmd))
		assert.Equal(t, exchange.UnknownAsset, reason)
	}
	for _, bad := range []func(*exchange.InstrumentSpec){
		func(s *exchange.InstrumentSpec) { s.ID = exchange.MaxID + 1 },
		func(s *exchange.InstrumentSpec) { s.ID = 0 },
		func(s *exchange.InstrumentSpec) { s.Base.ID = exchange.MaxID + 1 },
		func(s *exchange.InstrumentSpec) { s.Quote.ID = 0 },
	} {
		s := spec
		bad(&s)
		_, err := exchange.NewInstrument(s)
		var field *exchange.FieldError
		require.True(t, errors.As(err, &field), "%v", err)
		assert.Contains(t, field.Field, "ID")
		assert.ErrorIs(t, err, exchange.OutOfRange)
	}
}

// TestBounds shows MaxOrders (ORDER-014), MaxAccounts (CMD-007), DedupCount
// (DEDUP-002) and MaxIcebergParts (ORDER-010) at their edge.
func TestBounds(t *testing.T) {
	const bound = 7
	t.Run("MaxOrders", func(t *testing.T) {
		s := newStage(t, []string{fmt.Sprintf("maxorders=%d", bound)})
		for i := range bound + 1 {
			reason, refused := exchange.Rejected(s.must(fmt.Sprintf("a%d buy 1@%d", i+1, 100+i)))
			assert.Equal(t, i == bound, refused)
			assert.Equal(t, i == bound, reason == exchange.BookFull)
		}
		assert.Equal(t, bound, s.book(1).Len())
	})
	t.Run("MaxAccounts", func(t *testing.T) {
		s := newStage(t, []string{fmt.Sprintf("maxaccounts=%d", bound)})
		for i := range bound + 1 {
			reason, refused := exchange.Rejected(s.must(fmt.Sprintf("a%d buy 1@%d", i+1, 100+i)))
			assert.Equal(t, i == bound, refused)
			assert.Equal(t, i == bound, reason == exchange.TooManyAccounts)
		}
	})
	t.Run("DedupCount", func(t *testing.T) {
		for sent := bound - 1; sent <= bound+1; sent++ {
			s := newStage(t, []string{fmt.Sprintf("dedupcount=%d", bound)})
			for i := range sent {
				s.must(fmt.Sprintf("a1 cancel #9 id=c%d", i))
			}
			reason, _ := exchange.Rejected(s.must("a1 cancel #9 id=c0"))
			assert.Equal(t, sent <= bound, reason == exchange.DuplicateCommand, "%d ids sent: %s", sent, reason)
		}
	})
	t.Run("MaxIcebergParts", func(t *testing.T) {
		s := newStage(t, nil)
		for _, display := range []exchange.Qty{1, 7, 1 << 40} {
			cmd := exchange.LimitOrder(1, 1, exchange.Sell, 1, exchange.MaxIcebergParts*display)
			cmd.DisplayQty = display
			_, refused := exchange.Rejected(s.engine.Apply(nil, &cmd))
			assert.False(t, refused)
			cmd.Qty++
			reason, _ := exchange.Rejected(s.engine.Apply(nil, &cmd))
			assert.Equal(t, exchange.IcebergParts, reason)
		}
	})
}
