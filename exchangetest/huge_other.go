//go:build !unix

package exchangetest

import "testing"

// huge returns n bytes of zeros.
func huge(_ testing.TB, n int) []byte { return make([]byte, n) }
