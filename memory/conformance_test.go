package memory_test

import (
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func TestJournalConformance(t *testing.T) {
	exchangetest.TestJournal(t, func(testing.TB) pipeline.Journal { return memory.NewJournal() })
}
