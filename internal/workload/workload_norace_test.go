//go:build !race

// One goroutine and millions of commands: the race detector finds nothing here.

package workload

import (
	"reflect"
	"testing"

	"github.com/castlecloud/exchange"
)

func small(o Options) []*Stream {
	o.Commands = 10_000
	streams := []*Stream{Mixed(o), Wide(o)}
	for i := range Scenarios {
		streams = append(streams, Scenario(i, o))
	}
	return streams
}

// A stream follows from its seed, and the options that say so change nothing
// of the market.
func TestNoRaceDeterminism(t *testing.T) {
	plain, again, other := small(Options{Seed: 1}), small(Options{Seed: 1}), small(Options{Seed: 2})
	dressed := small(Options{Seed: 1, Accounts: 5, IDs: true, Held: true})
	for i, s := range plain {
		if !reflect.DeepEqual(s.Commands, again[i].Commands) {
			t.Errorf("%s: two streams of one seed differ", s.Name)
		}
		if reflect.DeepEqual(s.Commands, other[i].Commands) {
			t.Errorf("%s: streams of two seeds are equal", s.Name)
		}
		ids, last := map[exchange.CommandID]bool{}, exchange.Time(0)
		for j, cmd := range dressed[i].Commands {
			if cmd.Time <= last || ids[cmd.ID] || cmd.ID == (exchange.CommandID{}) || cmd.Account > 5 {
				t.Fatalf("%s: command %d has Time %d after %d, ID %x, Account %d", s.Name, j, cmd.Time, last, cmd.ID, cmd.Account)
			}
			ids[cmd.ID], last = true, cmd.Time
			cmd.Time, cmd.ID, cmd.Held, cmd.Account = 0, exchange.CommandID{}, 0, s.Commands[j].Account
			if cmd != s.Commands[j] {
				t.Fatalf("%s: command %d differs with options:\n%+v\n%+v", s.Name, j, cmd, s.Commands[j])
			}
		}
	}
}

// What the streams say about themselves, and the generator's book, are what
// the engine makes of them; no command is refused, in any mode of funds.
func TestNoRaceEngineAgrees(t *testing.T) {
	for _, o := range [...]Options{{Seed: 1}, {Seed: 2, IDs: true, Accounts: 20}} {
		heldOptions := o
		heldOptions.Held = true
		held := small(heldOptions)
		for i, s := range small(o) {
			m, err := exchange.NewMatcher(s.Instrument, exchange.MatcherConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if got := Look(m, s.Prefill); got.Rejected != 0 {
				t.Errorf("%s: %d commands of Prefill rejected", s.Name, got.Rejected)
			}
			levels := len(m.Book().Levels(nil, exchange.Buy, 0)) + len(m.Book().Levels(nil, exchange.Sell, 0))
			if m.Book().Len() != s.Resting || levels != s.Levels {
				t.Errorf("%s: %d orders on %d prices, want %d on %d", s.Name, m.Book().Len(), levels, s.Resting, s.Levels)
			}
			want := Look(m, s.Commands)
			if want.Rejected != 0 || want.Trades != s.Trades {
				t.Errorf("%s: %d rejected and %d trades, want 0 and %d", s.Name, want.Rejected, want.Trades, s.Trades)
			}
			for funds, s := range map[exchange.Funds]*Stream{exchange.FundsNone: s, exchange.FundsLedger: s, exchange.FundsHeld: held[i]} {
				if got := Look(s.Engine(exchange.Config{Funds: funds}), s.Commands); got != want {
					t.Errorf("%s, funds %d: %+v, want %+v", s.Name, funds, got, want)
				}
			}
			bare := NewBare(s)
			bare.Run(s.Commands)
			bare.Sweep()
			live := 0
			for _, at := range bare.byID {
				if at != 0 {
					live++
				}
			}
			if live != m.Book().Len() {
				t.Errorf("%s: the bare loop keeps %d orders, the matcher %d", s.Name, live, m.Book().Len())
			}
		}
	}
}

// The streams are what their comments promise.
func TestNoRaceShapes(t *testing.T) {
	about := func(t *testing.T, what string, got, want, off int) {
		t.Helper()
		if got < want-off || got > want+off {
			t.Errorf("%s: %d, want %d, give or take %d", what, got, want, off)
		}
	}
	count := func(commands []exchange.Command, is func(*exchange.Command) bool) (n int) {
		for i := range commands {
			if is(&commands[i]) {
				n++
			}
		}
		return n
	}
	takes := func(c *exchange.Command) bool {
		return c.Kind == exchange.KindNewOrder && c.TimeInForce == exchange.IOC
	}
	amends := func(c *exchange.Command) bool { return c.Kind == exchange.KindAmend }

	mixed := Mixed(Options{Seed: 1, Commands: 50_000})
	about(t, "mixed: orders", mixed.Resting, 10_000, 500)
	about(t, "mixed: prices", mixed.Levels, 500, 10)
	about(t, "mixed: aggressors", count(mixed.Commands, takes), 5_000, 300)
	about(t, "mixed: amends", count(mixed.Commands, amends), 5_000, 300)

	wide := Wide(Options{Seed: 1, Commands: 50_000})
	about(t, "wide: prices", wide.Levels, wide.Resting, 50)

	// The last price of a trade in the middle of the stream and at its end.
	for i, want := range [...][2]int{{100_000, 100_000}, {99_500, 100_000}, {75_000, 100_000}, {60_000, 100_000}, {40_000, 55_000}} {
		s := Scenario(i, Options{Seed: 1, Commands: 300_000})
		m := s.Matcher(exchange.MatcherConfig{})
		for half, want := range want {
			Apply(nil, m, s.Commands[half*len(s.Commands)/2:(half+1)*len(s.Commands)/2])
			bid, _ := m.Book().Best(exchange.Buy)
			ask, _ := m.Book().Best(exchange.Sell)
			about(t, s.Name+": price", int(bid.Price+ask.Price)/2, want, want/50)
		}
		resting := scenarios[i].resting
		about(t, s.Name+": orders", m.Book().Len(), resting, resting/10)
	}
}
