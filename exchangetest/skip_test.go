package exchangetest_test

import (
	"fmt"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
)

// recorder is a testing.TB that notes how it was ended instead of ending.
type recorder struct {
	testing.TB
	skipped, failed string
}

type ended struct{}

func (r *recorder) Helper() {}

func (r *recorder) Skip(args ...any) {
	r.skipped = fmt.Sprint(args...)
	panic(ended{})
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(ended{})
}

func TestSkip(t *testing.T) {
	for _, tc := range []struct {
		strict string
		reason exchangetest.Reason
		fails  bool
	}{
		{"", "needs a server", false},
		{"", exchangetest.SharedAbsent, false},
		{"1", "needs a server", true},
		{"1", exchangetest.SharedAbsent, false},
		{"1", exchangetest.TerraformAbsent, false},
		{"1", exchangetest.LiveAbsent, false},
	} {
		t.Run(fmt.Sprintf("strict=%q/%s", tc.strict, tc.reason), func(t *testing.T) {
			t.Setenv("EXCHANGE_STRICT", tc.strict)
			r := &recorder{}
			func() {
				defer func() {
					if got := recover(); got != (ended{}) {
						panic(got)
					}
				}()
				exchangetest.Skip(r, tc.reason)
			}()
			if failed := r.failed != ""; failed != tc.fails {
				t.Errorf("failed: %v (%s), want %v", failed, r.failed, tc.fails)
			}
			if skipped := r.skipped == string(tc.reason); skipped == tc.fails {
				t.Errorf("skipped: %v (%s), want %v", skipped, r.skipped, !tc.fails)
			}
		})
	}
}
