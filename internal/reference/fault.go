package reference

// Fault is a mistake planted into the engine, one that an exchange is known
// to have made. A test-suite that compares with a faulty reference and does
// not notice is no good.
type Fault uint8

// The faults.
const (
	None                   Fault = iota
	FOKIgnoresSelfTrade          // the dry run of FOK and MinQty prevents no self-trade
	SelfTradeResidualRests       // what CancelNewest left of a taker rests
	DecrementStrandsHidden       // an iceberg whose slice was decremented away never shows the next
	UnstableTime                 // the last to arrive at a price is the first to trade
	StopCascadeOnce              // what a triggered order elects is not triggered
	TradeAtTakerPrice            // a trade prints at the price of a limit taker
	CancelDropsLevel             // a cancel takes the orders at its price out of the book as well
	UnsignedUnderflow            // reduced by more than is open, a huge quantity is open
	PriceTwoLevels               // depth shows the first order of a price apart from the others
	DuplicateLiveID              // an id of a live order is accepted again once it left the window
	DepthInMapOrder              // depth comes in the order of a map
	RestoreForgetsTriggers       // a clone has lost the orders that wait
	RestoreForgetsExpiry         // a clone has lost when its orders expire
	RestoreForgetsTradeID        // a clone numbers its trades from 1 again
	faults
)

var faultNames = [...]string{"none", "FOK ignores self-trade", "self-trade residual rests", "decrement strands hidden", "unstable time",
	"stop cascade once", "trade at taker price", "cancel drops level", "unsigned underflow", "price two levels", "duplicate live id",
	"depth in map order", "restore forgets triggers", "restore forgets expiry", "restore forgets trade id"}

// String names the fault.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return "unknown fault"
}

// Faults lists every fault but None.
func Faults() []Fault {
	var all []Fault
	for f := None + 1; f < faults; f++ {
		all = append(all, f)
	}
	return all
}
