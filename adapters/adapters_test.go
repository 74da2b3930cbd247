package adapters_test

import (
	"testing"

	"github.com/castlecloud/exchange"
)

// The module stands on the core at the version its go.mod requires. Until the
// first adapter uses the core, this is what does.
func TestCoreResolves(t *testing.T) {
	if got := exchange.Buy.Opposite(); got != exchange.Sell {
		t.Fatalf("Buy.Opposite() = %v, want %v", got, exchange.Sell)
	}
}
