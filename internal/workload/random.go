package workload

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/castlecloud/exchange"
)

// random is splitmix64: the same numbers on every machine and with every
// version of Go.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// percent is true p times in a hundred.
func (r *random) percent(p int) bool { return r.below(100) < p }

func (r *random) side() exchange.Side {
	if r.next()>>63 == 0 {
		return exchange.Buy
	}
	return exchange.Sell
}

func (r *random) commandID() (id exchange.CommandID) {
	binary.LittleEndian.PutUint64(id[:8], r.next())
	binary.LittleEndian.PutUint64(id[8:], r.next())
	return id
}

// qty returns 1 to 1,000 lots by a power law: half of the orders are of one
// lot, every tenth of ten and more.
func (r *random) qty() exchange.Qty { return exchange.Qty(1_000 / (1 + r.below(1_000))) }

// distances draws 1 to reach ticks, one tick reach times as often as reach.
type distances struct{ sums []int }

func newDistances(reach exchange.Price) distances {
	d := distances{sums: make([]int, reach)}
	sum := 0
	for i := range d.sums {
		sum += 1 << 32 / (i + 1)
		d.sums[i] = sum
	}
	return d
}

func (d distances) draw(r *random) exchange.Price {
	i, _ := slices.BinarySearch(d.sums, 1+r.below(d.sums[len(d.sums)-1]))
	return exchange.Price(i + 1)
}
