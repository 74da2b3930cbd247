// Package storetest tests and measures what has the three stores of a venue: the
// suites of package exchangetest, processes that are killed, benchmarks.
//
// The test binary is the process that is killed:
//
//	func TestMain(m *testing.M) { storetest.Main(m, open) }
package storetest

import (
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// Store is what is tested.
type Store interface {
	Journal() pipeline.Journal
	Balances() pipeline.Balances
	TradeStore() pipeline.TradeStore
	Close() error
}

// Open opens the store in a directory.
type Open func(dir string) (Store, error)

// TestSuites runs the suites of the three ports.
func TestSuites(t *testing.T, open Open) {
	journal, balances := durable(open, Store.Journal), durable(open, Store.Balances)
	t.Run("Journal", func(t *testing.T) { exchangetest.TestJournal(t, journal.Open) })
	t.Run("DurableJournal", func(t *testing.T) { exchangetest.TestDurableJournal(t, journal) })
	t.Run("Balances", func(t *testing.T) { exchangetest.TestBalances(t, balances.Open) })
	t.Run("DurableBalances", func(t *testing.T) { exchangetest.TestDurableBalances(t, balances) })
	TestTradeStores(t, open)
}

// TestTradeStores runs the suite of the trade store alone.
func TestTradeStores(t *testing.T, open Open) {
	trades := durable(open, Store.TradeStore)
	t.Run("TradeStore", func(t *testing.T) { exchangetest.TestTradeStore(t, trades.Open) })
	t.Run("DurableTradeStore", func(t *testing.T) { exchangetest.TestDurableTradeStore(t, trades) })
}

// durable opens one port of a store. The cases of a suite run one after the
// other, and each has one store.
func durable[P any](open Open, port func(Store) P) exchangetest.Durable[P] {
	var s Store
	var dir string
	start := func(t testing.TB) P {
		t.Helper()
		var err error
		if s, err = open(dir); err != nil {
			t.Fatalf("opening: %v", err)
		}
		mine := s
		t.Cleanup(func() {
			if err := mine.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		return port(s)
	}
	return exchangetest.Durable[P]{
		Open: func(t testing.TB) P {
			dir = t.TempDir()
			return start(t)
		},
		Reopen: func(t testing.TB, _ P) P {
			t.Helper()
			if err := s.Close(); err != nil {
				t.Fatalf("closing: %v", err)
			}
			return start(t)
		},
	}
}
