package cloud

import (
	"fmt"
	"slices"
	"strings"
)

// mids are prices to trade around, as nobody has traded yet.
var mids = map[string]string{
	"BTC-USD": "64000", "ETH-USD": "3200", "ETH-BTC": "0.05", "SOL-USD": "150", "LTC-USD": "80", "LINK-USD": "15", "AVAX-USD": "30", "DOT-USD": "6", "UNI-USD": "9", "ATOM-USD": "7",
}

// Mids returns them as loadgen's -mid takes them.
func Mids() string {
	var out []string
	for symbol, price := range mids {
		out = append(out, fmt.Sprintf("%s=%s", symbol, price))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
