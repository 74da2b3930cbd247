package hub

import (
	"fmt"
	"testing"

	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// Whatever was pushed and forgotten: what follows a sequence number is given
// whole or not at all, and the ring keeps its bounds.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, size := rapid.IntRange(1, 6).Draw(t, "messages"), rapid.IntRange(1, 60).Draw(t, "bytes")
		start := uint64(rapid.IntRange(0, 5).Draw(t, "start"))
		m := &market{limits: &Limits{RingMessages: most}, seq: start}
		st := m.newStream(size)
		m.streams = map[streamKey]*stream{{pipeline.ChannelBook, 0}: st}
		var all []pipeline.Push
		pos := pipeline.Position(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				seq := m.seq + uint64(rapid.IntRange(1, 3).Draw(t, "by"))
				p := pipeline.Push{Channel: pipeline.ChannelBook, Seq: seq, PrevSeq: st.last, Data: make([]byte, rapid.IntRange(1, 20).Draw(t, "size"))}
				pos++
				assert.True(t, m.push(pos, []pipeline.Push{p}))
				all = append(all, p)
			},
			"push again": func(t *rapid.T) {
				assert.False(t, m.push(pos, nil))
				m.give(all[:min(1, len(all))]) // a Seq that was there
			},
			"other channel": func(*rapid.T) {
				pos++
				m.push(pos, []pipeline.Push{{Channel: pipeline.ChannelOrders, Account: 7, Seq: m.seq + 1}})
			},
			"": func(t *rapid.T) {
				bytes := 0
				for i := range st.ring {
					bytes += len(st.ring[i].Data)
				}
				assert.LessOrEqual(t, len(st.ring), most)
				assert.LessOrEqual(t, bytes, size)
				assert.Equal(t, bytes, st.bytes)
				fits, total := 0, 0 // the latest that have room
				for fits < min(most, len(all)) && total+len(all[len(all)-1-fits].Data) <= size {
					total += len(all[len(all)-1-fits].Data)
					fits++
				}
				assert.Len(t, st.ring, fits)
				for seq := uint64(0); seq < m.seq+3; seq++ {
					got, ok := st.after(seq, m.seq)
					if !ok {
						continue
					}
					var want []pipeline.Push
					for _, p := range all {
						if p.Seq > seq {
							want = append(want, p)
						}
					}
					assert.Equal(t, fmt.Sprint(want), fmt.Sprint(append([]pipeline.Push(nil), got...)), "after %d", seq)
				}
				_, ok := st.after(m.seq, m.seq)
				assert.True(t, ok, "who has everything misses nothing")
				_, ok = st.after(m.seq+1, m.seq)
				assert.False(t, ok, "nobody has what was not pushed")
			},
		})
	})
}
