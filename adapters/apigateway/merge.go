package apigateway

import (
	"encoding/json"
	"slices"

	"github.com/castlecloud/exchange/pipeline"
)

// merge returns pushes with those of a topic made one where there are more than
// most of them: nothing is left out but what a later one says again. What goes
// to one connection alone stays where it is, and what is before it is not
// merged with what is behind it.
func merge(pushes []push, most int) []push {
	count := map[Topic]int{}
	for i := range pushes {
		if pushes[i].To == "" {
			count[pushes[i].topic()]++
		}
	}
	out := make([]push, 0, len(pushes))
	open := map[Topic]int{} // where in out the one is that others may join
	for i := range pushes {
		p := &pushes[i]
		t := p.topic()
		if p.To != "" {
			delete(open, t)
		} else if at, ok := open[t]; ok && join(&out[at], p) {
			continue
		} else if count[t] > most {
			open[t] = len(out)
		}
		out = append(out, *p)
	}
	return out
}

// join makes a the two of them; false when that cannot be done: then nothing
// has changed.
func join(a, b *push) bool {
	if b.Seq <= a.Seq || !isUpdate(a.Data) || !isUpdate(b.Data) {
		return false
	}
	if a.Channel.Whole() {
		prev := a.PrevSeq
		*a = *b
		a.PrevSeq = prev
		return true
	}
	if b.PrevSeq > a.Seq {
		return false // something is missing between them, which the client must see
	}
	var data []byte
	var err error
	switch a.Channel {
	case pipeline.ChannelBook:
		data, err = joined(a, b, func(x, y *pipeline.FeedBook) {
			x.Bids = latest(x.Bids, y.Bids, levelPrice)
			x.Asks = latest(x.Asks, y.Asks, levelPrice)
			x.Checksum = y.Checksum
			head(&x.FeedHeader, &y.FeedHeader)
		})
	case pipeline.ChannelTrades:
		data, err = joined(a, b, func(x, y *pipeline.FeedTrades) {
			x.Trades = append(x.Trades, y.Trades...)
			head(&x.FeedHeader, &y.FeedHeader)
		})
	case pipeline.ChannelCandles:
		data, err = joined(a, b, func(x, y *pipeline.FeedCandles) {
			x.Candles = latest(x.Candles, y.Candles, func(c *pipeline.FeedCandle) string { return c.Start })
			head(&x.FeedHeader, &y.FeedHeader)
		})
	case pipeline.ChannelOrders:
		data, err = joined(a, b, func(x, y *pipeline.FeedOrders) {
			x.Orders = latest(x.Orders, y.Orders, func(o *pipeline.FeedOrder) string { return o.CommandID })
			x.Fills = append(x.Fills, y.Fills...)
			x.Refusals = append(x.Refusals, y.Refusals...)
			head(&x.FeedHeader, &y.FeedHeader)
		})
	default:
		return false
	}
	if err != nil {
		return false
	}
	a.Data, a.Seq = data, b.Seq
	return true
}

// isUpdate reports whether data is what MarketData and the Settler push, and
// not an error in its place.
func isUpdate(data []byte) bool {
	var h struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(data, &h) == nil && h.Type == "update"
}

func joined[T any](a, b *push, into func(x, y *T)) ([]byte, error) {
	var x, y T
	if err := json.Unmarshal(a.Data, &x); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b.Data, &y); err != nil {
		return nil, err
	}
	into(&x, &y)
	return json.Marshal(x)
}

// head is the header of two messages: it follows what the first one followed.
func head(x, y *pipeline.FeedHeader) {
	prev := x.PrevSeq
	*x = *y
	x.PrevSeq = prev
}

func levelPrice(l *pipeline.FeedLevel) string { return l.Price }

// latest returns what is in old and in more, the one in more of two with the
// same key.
func latest[T any](old, more []T, key func(*T) string) []T {
	has := map[string]bool{}
	for i := range more {
		has[key(&more[i])] = true
	}
	old = slices.DeleteFunc(old, func(v T) bool { return has[key(&v)] })
	return append(old, more...)
}
