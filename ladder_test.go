package exchange

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLadder holds both directions of a ladder against a sorted list, over
// prices close together, in hundreds of regions, and at the ends of the range:
// MATCH-001, MATCH-010.
func TestLadder(t *testing.T) {
	seed, err := strconv.ParseUint(flag.Lookup("model.seed").Value.String(), 10, 64) // that of TestModel
	require.NoError(t, err)
	if seed == 0 {
		seed = rand.Uint64()>>1 | 1
	}
	t.Logf("replay: go test -run TestLadder -model.seed=%d .", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	draw := []func() Price{
		func() Price { return 1 + Price(rng.IntN(300)) },
		func() Price { return 1<<18 - 40 + Price(rng.IntN(80)) },                          // where regions meet
		func() Price { return Price(1+rng.IntN(200))<<18 + Price(rng.IntN(3)) },           // many regions
		func() Price { return Price(1+rng.IntN(40))<<(18+6) + Price(rng.IntN(70)) },       // regions that share a place in recent
		func() Price { return []Price{1, 2, MaxPrice - 1, MaxPrice}[rng.IntN(4)] },        // the ends
		func() Price { return 1 + Price(rng.Int64N(int64(MaxPrice))) },                    // anywhere
		func() Price { return Price(1+rng.IntN(4))<<(18-6) + Price(rng.IntN(4))<<6*(64) }, // middle words
	}
	for _, side := range []Side{Buy, Sell} {
		var b Book
		b.init(nil, nil)
		l := b.ladder(side)
		levels := map[Price]ref{}
		better := func(x, y Price) int { return int(min(1, max(-1, l.x(x)-l.x(y)))) }
		for step := range 20_000 {
			p := draw[rng.IntN(len(draw))]()
			if r, there := levels[p]; there && rng.IntN(2) == 0 {
				l.remove(r, b.levels.at(r))
				delete(levels, p)
			} else if len(levels) < 400 || there {
				r, lv := l.level(p)
				require.Equal(t, p, lv.price)
				if there {
					require.Equal(t, levels[p], r, "a price has one level")
				}
				levels[p] = r
			} else { // the thinner the list, the more regions fall empty
				for p, r := range levels {
					if rng.IntN(3) > 0 {
						l.remove(r, b.levels.at(r))
						delete(levels, p)
					}
				}
			}
			if step%50 != 0 {
				continue
			}
			var want, got []Price
			for p := range levels {
				want = append(want, p)
			}
			slices.SortFunc(want, better)
			for r, x := l.best, l.bestX; r != 0; r, x = l.after(x) {
				require.Equal(t, x, l.x(b.levels.at(r).price))
				got = append(got, b.levels.at(r).price)
			}
			require.Equal(t, want, got, "%v, step %d", side, step)
			require.LessOrEqual(t, l.empty, emptyRegionsMax)
			require.Equal(t, len(levels), l.levels)
			// A search may begin where no level is.
			from := draw[rng.IntN(len(draw))]()
			after, _ := l.after(l.x(from))
			i := slices.IndexFunc(want, func(p Price) bool { return better(p, from) > 0 })
			if i < 0 {
				require.Zero(t, after)
			} else {
				require.Equal(t, want[i], b.levels.at(after).price)
			}
		}
	}
}
