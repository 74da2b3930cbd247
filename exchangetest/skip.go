package exchangetest

import (
	"os"
	"testing"
)

// Reason says why a test is skipped. Any text will do; the constants below
// are the only ones that Skip accepts when EXCHANGE_STRICT=1.
type Reason string

// The circumstances that no amount of setting up can change, and that
// therefore excuse a test even from a strict run.
const (
	// SharedAbsent: the data that lies beside the maintainers' clone is not
	// there. A public clone never has it.
	SharedAbsent Reason = "the shared test data beside the repository is absent"
	// TerraformAbsent: terraform, or a provider it needs, is not installed.
	TerraformAbsent Reason = "terraform or its provider is absent"
	// LiveAbsent: the test talks to a real account and is built only with the
	// tag live.
	LiveAbsent Reason = "the build tag live is absent"
)

// Skip skips the test, loudly: under EXCHANGE_STRICT=1 it fails it instead,
// unless reason is one of the three constants. A test that needs something
// says in reason what that is and how to get it:
//
//	exchangetest.Skip(t, "needs a C compiler: apt install gcc")
func Skip(t testing.TB, reason Reason) {
	t.Helper()
	switch reason {
	case SharedAbsent, TerraformAbsent, LiveAbsent:
	default:
		if os.Getenv("EXCHANGE_STRICT") == "1" {
			t.Fatalf("strict: a skip is a failure: %s", reason)
		}
	}
	t.Skip(string(reason))
}
