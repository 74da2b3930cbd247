//go:build !race

package pipeline_test

import (
	"context"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestMatchingEngineSeeds with schedules that rapid makes smaller.
func TestNoRaceMatchingEngineRandom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		draw := rapid.IntRange(0, 1<<20)
		g := &commandStream{s: newStand(r), pick: func(n int) int { return draw.Draw(r, "n") % n }}
		g.schedule(30)
	})
}

// The same with more and longer schedules.
func TestNoRaceMatchingEngineSeeds(t *testing.T) { seeds(t, "TestNoRaceMatchingEngineSeeds", 30, 500) }

// A command costs no allocation beyond what the batch keeps: the number does
// not depend on how many there are in a batch.
func TestNoRaceMatchingEngineAllocs(t *testing.T) {
	allocs := func(batch int) float64 {
		s := newStand(t)
		cfg := s.cfg
		cfg.Metrics, cfg.BookEvery, cfg.SnapshotEvery = nil, 1<<20, 1<<20
		cfg.Log, cfg.Books, cfg.Publisher = pipeline.NewLog(&forgetful{Journal: s.journal}), memory.NewBookStore(), memory.NewPublisher()
		m, err := pipeline.NewMatchingEngine(cfg)
		require.NoError(t, err)
		n := 0
		next := func() (msgs []pipeline.QueueMessage) {
			for range batch {
				n++
				c := s.limitOrder(n, exchange.AccountID(1+n%50), exchange.Side(1+n%2), exchange.Price(10_000+n%50), 1)
				if n%3 == 0 {
					c = exchange.Amend(1, exchange.AccountID(1+(n-2)%50), 0, 9_990, 0)
					c.ID, c.OrigID, c.Time, c.Held = commandID(n), commandID(n-2), s.now, 1_000_000
				}
				msgs = append(msgs, message(t, c))
			}
			return msgs
		}
		for range 200 { // warm
			_, err := m.Handle(context.Background(), 1, next())
			require.NoError(t, err)
		}
		prepared := make([][]pipeline.QueueMessage, 0, 60)
		for range 60 {
			prepared = append(prepared, next())
		}
		return testing.AllocsPerRun(50, func() {
			done, err := m.Handle(context.Background(), 1, prepared[0])
			if err != nil || done != batch {
				t.Fatalf("%d done: %v", done, err)
			}
			prepared = prepared[1:]
		})
	}
	few, many := allocs(20), allocs(420)
	t.Logf("%v allocations for 20 commands, %v for 420", few, many)
	assert.Less(t, many-few, 40.0, "for 400 commands more")
}
