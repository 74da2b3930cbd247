package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// A message that is cut has no piece above the limit, and is put together as it
// was, whatever is in it.
func TestFeedPartsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat(rapid.String().Draw(t, "text"), rapid.IntRange(1, 200).Draw(t, "times"))
		message, err := json.Marshal(map[string]string{"text": text})
		require.NoError(t, err)
		limit := rapid.IntRange(pipeline.MinFeedPart, 4*pipeline.MinFeedPart).Draw(t, "limit")
		parts, err := pipeline.CutFeed(message, strings.Repeat("i", rapid.IntRange(0, 128).Draw(t, "id")), limit)
		require.NoError(t, err)
		require.Equal(t, len(message) <= limit, len(parts) == 1)
		var j pipeline.FeedJoiner
		for i, part := range parts {
			require.LessOrEqual(t, len(part), limit)
			require.True(t, utf8.Valid(part))
			got, err := j.Join(part)
			if err != nil && len(parts) > pipeline.MaxFeedParts {
				return
			}
			require.NoError(t, err)
			if i < len(parts)-1 {
				require.Nil(t, got)
			} else {
				require.Equal(t, string(message), string(got))
			}
		}
	})
}

func TestCutFeedRefuses(t *testing.T) {
	long := []byte(strings.Repeat("x", pipeline.MinFeedPart+1))
	_, err := pipeline.CutFeed(long, "", pipeline.MinFeedPart-1)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = pipeline.CutFeed(long, strings.Repeat("i", 129), pipeline.MinFeedPart)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = pipeline.CutFeed(append(long, 0xff), "", pipeline.MinFeedPart)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	parts, err := pipeline.CutFeed(long[:pipeline.MinFeedPart], "", pipeline.MinFeedPart)
	require.NoError(t, err)
	assert.Len(t, parts, 1, "as long as it may be")
}

func TestFeedJoiner(t *testing.T) {
	part := func(id string, n, of int, data string) []byte {
		return fmt.Appendf(nil, `{"type":"part","id":%q,"part":%d,"parts":%d,"data":%q}`, id, n, of, data)
	}
	var j pipeline.FeedJoiner
	join := func(data []byte, want string) {
		t.Helper()
		got, err := j.Join(data)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	refuse := func(data []byte) {
		t.Helper()
		_, err := j.Join(data)
		require.ErrorIs(t, err, pipeline.ErrEncoding)
	}
	join([]byte(`{"type":"update"}`), `{"type":"update"}`)
	join(part("a", 1, 2, "x"), "")
	join(part("b", 1, 2, "1"), "") // another one in between
	join([]byte(`{"type":"pong"}`), `{"type":"pong"}`)
	join(part("a", 2, 2, "y"), "xy")
	join(part("b", 2, 2, "2"), "12")
	refuse(part("b", 2, 2, "2")) // it is done
	join(part("c", 1, 3, "x"), "")
	join(part("c", 1, 2, "X"), "") // begun again
	join(part("c", 2, 2, "Y"), "XY")
	join(part("d", 1, 3, "x"), "")
	refuse(part("d", 3, 3, "z")) // one is missing: it is forgotten
	refuse(part("d", 2, 3, "y"))
	refuse(part("e", 1, pipeline.MaxFeedParts+1, ""))
	refuse(part("e", 0, 1, ""))
	refuse(part("e", 2, 1, ""))
	refuse([]byte(`{"type":"part",`))
	for i := range pipeline.MaxFeedJoining + 1 {
		join(part(fmt.Sprint("m", i), 1, 2, "x"), "")
	}
	refuse(part("m0", 2, 2, "y")) // the oldest had to go
	join(part("m1", 2, 2, "y"), "xy")
	const pieces = 16
	piece := strings.Repeat("x", pipeline.MaxFeedJoinSize/pieces)
	for i := range pieces {
		join([]byte(`{"type":"part","id":"big","part":`+fmt.Sprint(i+1)+`,"parts":17,"data":"`+piece+`"}`), "")
	}
	refuse(part("big", pieces+1, pieces+1, "x"))
}

func TestFeedTarget(t *testing.T) {
	instruments := []*exchange.Instrument{scribeInstrument(t, 1), scribeInstrument(t, 2)}
	seq := uint64(1)
	for _, tc := range []struct {
		req  pipeline.FeedRequest
		acct exchange.AccountID
		want string // channel, account, symbols; or a code
	}{
		{pipeline.FeedRequest{Channel: pipeline.ChannelBook, Symbol: "B1-USD"}, 0, "book 0 [B1-USD]"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelTicker, Symbol: "B2-USD", Seq: &seq}, 7, "ticker 0 [B2-USD]"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelBook}, 7, "unknown_symbol"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelTrades, Symbol: "X"}, 7, "unknown_symbol"},
		{pipeline.FeedRequest{Channel: "news", Symbol: "B1-USD"}, 7, "unknown_channel"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelOrders}, 0, "unauthorized"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelOrders}, 7, "orders 7 [B1-USD B2-USD]"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelOrders, Symbol: "B2-USD", Seq: &seq}, 7, "orders 7 [B2-USD]"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelOrders, Seq: &seq}, 7, "invalid_message"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelBalances}, 0, "unauthorized"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelBalances}, 7, "balances 7 []"},
		{pipeline.FeedRequest{Channel: pipeline.ChannelBalances, Symbol: "B1-USD"}, 7, "unknown_symbol"},
	} {
		to, refused := pipeline.FeedTargetOf(&tc.req, tc.acct, instruments)
		got := ""
		if refused != nil {
			got = refused.Code
			assert.Equal(t, []any{"error", tc.req.Channel, tc.req.Symbol}, []any{refused.Type, refused.Channel, refused.Symbol})
		} else {
			symbols := []string{}
			for _, in := range to.Instruments {
				symbols = append(symbols, in.Symbol())
			}
			got = fmt.Sprint(to.Channel, " ", to.Account, " ", symbols)
		}
		assert.Equal(t, tc.want, got, "%+v", tc.req)
	}
}

func TestParseFeedRequest(t *testing.T) {
	got, err := pipeline.ParseFeedRequest([]byte(`{"op":"subscribe","channel":"book","symbol":"S","seq":5}`))
	require.NoError(t, err)
	assert.EqualValues(t, 5, *got.Seq)
	got.Seq = nil
	assert.Equal(t, pipeline.FeedRequest{Op: "subscribe", Channel: pipeline.ChannelBook, Symbol: "S"}, got)
	for _, bad := range []string{"", "[]", `{"op":1}`, `{"op":"ping"}{}`, `{"op":"ping","x":1}`, `{"seq":-1}`} {
		_, err := pipeline.ParseFeedRequest([]byte(bad))
		assert.ErrorIs(t, err, pipeline.ErrFeedRequest, bad)
	}
}
