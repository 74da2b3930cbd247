package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/redis"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

func BenchmarkBookStore(b *testing.B) {
	server := start(b)
	c := connect(b, rueidis.ClientOption{InitAddress: []string{server.Addr}})
	s := newStore(b, c, redis.Config{Timeout: time.Minute})
	item := exchangetest.Commit(b, inst, 1)[0]
	for _, size := range []int{10 << 10, 256 << 10, 1 << 20, 89 << 20} { // 89 MiB: a million orders
		data := make([]byte, size)
		b.Run(fmt.Sprintf("SaveBook/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for range b.N {
				require.NoError(b, s.SaveBook(b.Context(), item, data))
			}
		})
		b.Run(fmt.Sprintf("LoadBook/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for range b.N {
				_, err := s.LoadBook(b.Context(), inst)
				require.NoError(b, err)
			}
		})
	}
	d := &pipeline.Depth{Instrument: inst}
	for i := range 50 {
		l := exchange.Level{Price: exchange.Price(5000 + i), Qty: 1000, Orders: 3}
		d.Bids, d.Asks = append(d.Bids, l), append(d.Asks, l)
	}
	b.Run("SaveDepth/50", func(b *testing.B) {
		for i := range b.N {
			d.Seq = uint64(i)
			require.NoError(b, s.SaveDepth(b.Context(), item, d))
		}
	})
	b.Run("Depth/50", func(b *testing.B) {
		for range b.N {
			_, err := s.Depth(b.Context(), inst)
			require.NoError(b, err)
		}
	})
}
