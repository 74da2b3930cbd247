package venue

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProducts(t *testing.T) {
	s := start(t, Config{})
	type product struct {
		Symbol, Base, Quote string
		Tick                string `json:"tick_size"`
		Step                string `json:"size_step"`
		MinNotional         string `json:"min_notional"`
		MakerFee            string `json:"maker_fee"`
		TakerFee            string `json:"taker_fee"`
	}
	var all struct{ Products []product }
	s.get("/products").into(200, &all)
	require.Len(t, all.Products, 3)
	want := product{"ETH-BTC", "ETH", "BTC", "0.00001", "0.001", "0.0001", "0.0005", "0.001"}
	assert.Equal(t, want, all.Products[2])
	var one product
	s.get("/products/ETH-BTC").into(200, &one)
	assert.Equal(t, want, one)
	for _, path := range []string{"", "/book", "/ticker", "/trades", "/candles"} {
		s.get("/products/DOGE-USD"+path).fails(404, "not_found", "")
		s.get("/products/BTC-USD"+path+"?colour=red").fails(400, "invalid_field", "query")
	}
	for _, path := range []string{"/book?level=0", "/book?level=4", "/book?limit=0", "/trades?before=0", "/trades?before=x", "/trades?limit=x",
		"/candles?interval=2m", "/candles?before=yesterday", "/candles?limit=1001"} {
		field := strings.TrimSuffix(strings.SplitN(strings.SplitN(path, "?", 2)[1], "=", 2)[0], "=")
		s.get("/products/BTC-USD"+path).fails(400, "invalid_field", field)
	}
}

type level struct {
	Price, Size string
	Orders      int
	OrderID     string `json:"order_id"`
}

type book struct {
	Seq        uint64
	LastPrice  string `json:"last_price"`
	Bids, Asks []level
}

func (s *stand) book(query string) (b book) {
	s.t.Helper()
	s.get("/products/BTC-USD/book?"+query).into(200, &b)
	return b
}

func TestBook(t *testing.T) {
	s := start(t, Config{})
	assert.Equal(t, book{Bids: []level{}, Asks: []level{}}, s.book("level=3"), "nothing has happened")
	alice := s.as(1)
	alice.limit("buy", "60000", "0.5")
	two := alice.limit("buy", "60000", "0.25").OrderID
	alice.limit("buy", "59999.99", "1")
	alice.limit("buy", "60001", "0.3", "hidden", "true")
	alice.limit("sell", "60002", "1", "display_size", "0.2")
	assert.Equal(t, []level{{"60000", "0.75", 2, ""}}, s.book("level=1").Bids)
	b := s.book("")
	assert.Equal(t, []level{{"60000", "0.75", 2, ""}, {"59999.99", "1", 1, ""}}, b.Bids, "without what is hidden")
	assert.Equal(t, []level{{"60002", "0.2", 1, ""}}, b.Asks, "the slice alone")
	assert.Equal(t, []level{{"60000", "0.75", 2, ""}}, s.book("limit=1").Bids)
	b = s.book("level=3")
	assert.Equal(t, []level{{"60000", "0.5", 0, "BTC-USD.1"}, {"60000", "0.25", 0, two}, {"59999.99", "1", 0, "BTC-USD.3"}}, b.Bids)
	assert.Equal(t, []level{{"60002", "0.2", 0, "BTC-USD.5"}}, b.Asks)

	s.as(2).limit("sell", "60000", "0.4")
	b = s.book("level=3")
	assert.Equal(t, "60000", b.LastPrice)
	assert.Equal(t, level{"60000", "0.4", 0, "BTC-USD.1"}, b.Bids[0], "0.3 went to the hidden one, which had the better price")
	assert.Greater(t, b.Seq, uint64(5))
}

func TestTradesAndCandles(t *testing.T) {
	s := start(t, Config{})
	var ticker struct{ Price, Size, Open24h, High24h, Low24h, Volume24h string }
	var raw map[string]any
	s.get("/products/BTC-USD/ticker").into(200, &raw)
	assert.Equal(t, []any{"", "0"}, []any{raw["price"], raw["volume_24h"]}, "before the first trade")
	alice, bob := s.as(1), s.as(2)
	prices := []string{"60000", "61000", "59000", "60500"}
	for i, price := range prices {
		alice.limit("sell", price, "0.5")
		bob.limit("buy", price, fmt.Sprintf("0.%d", i+1))
		alice.cancelAll()
	}
	var trades struct {
		Trades []struct {
			ID                string `json:"trade_id"`
			Price, Size, Side string
		}
	}
	s.get("/products/BTC-USD/trades").into(200, &trades)
	require.Len(t, trades.Trades, 4)
	for i := range prices {
		got := trades.Trades[3-i]
		assert.Equal(t, []string{fmt.Sprint(i + 1), prices[i], fmt.Sprintf("0.%d", i+1), "buy"}, []string{got.ID, got.Price, got.Size, got.Side})
	}
	for _, interval := range []string{"1m", "5m", "15m", "1h", "4h", "1d"} {
		var candles struct {
			Interval string
			Candles  []struct {
				Start, Open, High, Low, Close, Volume string
				Trades                                int
			}
		}
		s.get("/products/BTC-USD/candles?interval="+interval).into(200, &candles)
		assert.Equal(t, interval, candles.Interval)
		n := 0
		for _, c := range candles.Candles { // a minute, or a day, may have ended on the way
			n += c.Trades
		}
		assert.Equal(t, 4, n, interval)
		if len(candles.Candles) == 1 {
			c := candles.Candles[0]
			assert.Equal(t, []string{"60000", "61000", "59000", "60500", "1"}, []string{c.Open, c.High, c.Low, c.Close, c.Volume}, interval)
		}
		first := candles.Candles[len(candles.Candles)-1].Start
		s.get("/products/BTC-USD/candles?interval="+interval+"&before="+first).into(200, &candles)
		assert.Empty(t, candles.Candles)
	}
	s.get("/products/BTC-USD/ticker").into(200, &raw)
	data, err := json.Marshal(raw)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &ticker))
	assert.Equal(t, []any{"60500", "0.4", "60000", "61000", "59000", "1"},
		[]any{raw["price"], raw["size"], raw["open_24h"], raw["high_24h"], raw["low_24h"], raw["volume_24h"]})
}

func TestTimeAndHealth(t *testing.T) {
	s := start(t, Config{})
	before := time.Now()
	var clock struct {
		Time    time.Time
		EpochNs string `json:"epoch_ns"`
	}
	s.get("/time").into(200, &clock)
	assert.False(t, clock.Time.Before(before) || clock.Time.After(time.Now()))
	assert.Equal(t, fmt.Sprint(clock.Time.UnixNano()), clock.EpochNs)

	s.as(1).limit("buy", "60000", "0.5")
	var health struct {
		Status      string
		Instruments []struct {
			Symbol                                    string
			Committed, Recorded, Settled, Pushed, Seq uint64
		}
	}
	require.Eventually(t, func() bool {
		r := s.get("/health")
		if r.status != 200 || json.Unmarshal(r.body, &health) != nil || len(health.Instruments) != 3 {
			return false
		}
		i := health.Instruments[0]
		return health.Status == "ok" && i.Committed > 0 && i.Recorded == i.Committed && i.Settled == i.Committed && i.Pushed == i.Committed && i.Seq > 0
	}, patience, time.Millisecond, "%+v", &health)
	assert.Equal(t, "BTC-USD", health.Instruments[0].Symbol)
}

// The document and the venue have the same methods on the same paths.
func TestDocumentIsWhole(t *testing.T) {
	s := start(t, Config{})
	assert.Equal(t, "application/yaml", s.get("/openapi.yaml").header.Get("Content-Type"))
	paths := s.doc.Paths.Map()
	require.Len(t, paths, 15)
	for path, item := range paths {
		r := s.do("TRACE", strings.NewReplacer("{id}", "x", "{symbol}", "x").Replace(path), "")
		r.fails(405, "method_not_allowed", "")
		var want []string
		for method := range item.Operations() {
			want = append(want, method)
			if method == "GET" {
				want = append(want, "HEAD")
			}
		}
		assert.ElementsMatch(t, want, strings.Split(r.header.Get("Allow"), ", "), path)
	}
}

func TestHead(t *testing.T) {
	s := start(t, Config{})
	s.router = nil
	r := s.do("HEAD", "/time", "")
	assert.Equal(t, 200, r.status)
	assert.Empty(t, r.body)
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
}
