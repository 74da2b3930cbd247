package hub

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/castlecloud/exchange/pipeline"
)

// Whatever a client sends is answered, by one message or by as many snapshots
// as it has subscribed to.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		``, `null`, `{}`, `[`, `{"op":"ping"}`, `{"op":"auth","token":"account 7"}`, `{"op":"subscribe","channel":"book","symbol":"BTC-USD"}`,
		`{"op":"subscribe","channel":"orders"}`, `{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":0}`,
		`{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":18446744073709551616}`, `{"op":"unsubscribe","channel":"book","symbol":"BTC-USD"}`,
		`{"op":"subscribe","channel":"balances"}`, "{\"op\":\"\xff\"}",
	} {
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, known bool) {
		s := newStand(t, Limits{})
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		c := &conn{hub: s.hub, ctx: ctx, cancel: cancel, bell: make(chan struct{}, 1), subs: map[subKey]*sub{}}
		if known {
			c.authenticate("account 7")
			c.next()
		}
		c.handle(data)
		answers := 0
		for it := c.next(); it != nil; it = c.next() {
			answers++
			if it.snapshot {
				continue
			}
			var m pipeline.FeedReply
			if err := json.Unmarshal(it.data, &m); err != nil || m.Type == "" || m.Type == "error" && (m.Code == "" || m.Message == "") {
				t.Fatalf("answered %s", it.data)
			}
		}
		if answers == 0 || answers > 1+len(s.hub.ordered) {
			t.Fatalf("%d answers", answers)
		}
	})
}
