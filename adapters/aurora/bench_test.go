package aurora_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// BenchmarkRecord records items of some orders, each followed by a trade of
// half of them, as a busy matching engine makes them.
func BenchmarkRecord(b *testing.B) {
	for _, orders := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(orders), func(b *testing.B) {
			s := openNew(b)
			items := exchangetest.Commit(b, inst, b.N)
			b.ResetTimer()
			for i := range items {
				r := &pipeline.Record{}
				for k := range orders {
					n := i*orders + k + 1
					o := order(n)
					o.Account, o.ClientID, o.Created = exchange.AccountID(n%1000+1), fmt.Sprintf("client-%012d", n), exchange.Time(n)*1e6
					r.Orders = append(r.Orders, o)
					if k%2 == 0 {
						t := trade(n, o.Created)
						t.Taker.Account, t.Maker.Account = exchange.AccountID(n%1000+1), exchange.AccountID(n*7919%1000+1)
						r.Trades = append(r.Trades, t)
					}
				}
				require.NoError(b, s.Record(b.Context(), items[i], r))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N*orders)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}

// BenchmarkQuery asks for pages of 50 and for one order, among 100,000.
func BenchmarkQuery(b *testing.B) {
	s := openNew(b)
	const each, n = 10_000, 10
	items := exchangetest.Commit(b, inst, n)
	for i := range items {
		r := &pipeline.Record{}
		for k := range each {
			n := i*each + k + 1
			o := order(n)
			o.Account, o.Created = exchange.AccountID(n%1000+1), exchange.Time(n)*1e9
			t := trade(n, o.Created)
			t.Taker.Account, t.Maker.Account = o.Account, exchange.AccountID(n*7919%1000+1)
			r.Orders, r.Trades = append(r.Orders, o), append(r.Trades, t)
		}
		require.NoError(b, s.Record(b.Context(), items[i], r))
	}
	on(b, with(b, server.URL(), "search_path", fmt.Sprintf("test_%d", schemas.Load())), "ANALYZE")
	for name, f := range map[string]func(n int) error{
		"OrderByCommand": func(n int) error {
			_, err := s.OrderByCommand(b.Context(), exchangetest.IDOf(n%(each*10)+1))
			return err
		},
		"Orders": func(n int) error {
			_, err := s.Orders(b.Context(), pipeline.OrderQuery{Account: exchange.AccountID(n%1000 + 1), Limit: 50})
			return err
		},
		"Trades": func(n int) error {
			_, err := s.Trades(b.Context(), pipeline.TradeQuery{Instrument: inst, Limit: 50})
			return err
		},
		"Fills": func(n int) error {
			_, err := s.Fills(b.Context(), pipeline.FillQuery{Account: exchange.AccountID(n%1000 + 1), Limit: 50})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				require.NoError(b, f(i))
			}
		})
	}
}
