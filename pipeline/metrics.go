package pipeline

import (
	"log/slog"
	"time"

	"github.com/castlecloud/exchange"
)

// The names of what the services measure. Each service's are together; the
// comment says how: counted, a gauge, or observed as a duration.
const (
	// MatchingEngine
	MetricCommands       = "matching_commands"        // count: journaled
	MetricTrades         = "matching_trades"          // count: journaled
	MetricBatches        = "matching_batches"         // count: journal items
	MetricBatchBytes     = "matching_batch_bytes"     // count: of those items
	MetricDuplicates     = "matching_duplicates"      // count: commands seen before
	MetricMalformed      = "matching_malformed"       // count: messages that are no command of their instrument
	MetricPanics         = "matching_panics"          // count: commands voided because applying them failed
	MetricFenced         = "matching_fenced"          // count: another writer was there
	MetricDiverged       = "matching_diverged"        // count: a replay gave other events than the journal has
	MetricLoads          = "matching_loads"           // count: cold starts of an instrument
	MetricReplayed       = "matching_replayed"        // count: journal items replayed by them
	MetricBookDiscarded  = "matching_book_discarded"  // count: snapshots the journal does not confirm, or that are damaged
	MetricBookFailed     = "matching_book_failed"     // count: calls of the book store that failed
	MetricSnapshotFailed = "matching_snapshot_failed" // count: durable snapshots that were not saved
	MetricMarkFailed     = "matching_mark_failed"     // count: published marks that were not kept
	MetricPosition       = "matching_position"        // gauge: the last journal item, the journal's head
	MetricOpenOrders     = "matching_open_orders"     // gauge: live orders
	MetricQueueAge       = "matching_queue_age"       // duration: from a command's Time until it is taken, of a batch's first
	MetricCommitted      = "matching_committed"       // duration: from a command's Time until it is durable, of a batch's first
	MetricPublished      = "matching_published"       // duration: from a command's Time until it is published, of a batch's first

	// Resident
	MetricRequestAge     = "requests_age"       // duration: from a request's Time until it is taken from the bus
	MetricProcessed      = "requests_processed" // duration: from a request's Time until the RiskChecker is done with it
	MetricRequestFailed  = "requests_failed"    // count: requests that come again
	MetricQueueFailed    = "queue_failed"       // count: calls of the queue that failed
	MetricMatchFailed    = "matching_failed"    // count: deliveries that come again, in part
	MetricConsumerFailed = "consumer_failed"    // count: notices that were tried again
	MetricPushedAfter    = "marketdata_latency" // duration: from a command's Time until what came of it is pushed
	MetricRecordedAfter  = "recorder_latency"   // duration: the same until it is recorded
	MetricSettledAfter   = "settler_latency"    // duration: the same until it is booked

	// A CommandQueue that is a service
	MetricQueueWait = "queue_wait" // duration: from when it took a message until it hands it out, of a delivery's first

	// Sweeper
	MetricSweepFailed = "sweeper_failed"  // count: steps of a pass
	MetricWoken       = "sweeper_woken"   // count: consumers that were behind
	MetricVoids       = "sweeper_voids"   // count: voids sent for holds without an order
	MetricResent      = "sweeper_resent"  // count: spanning commands sent to every instrument
	MetricTrimmed     = "sweeper_trimmed" // gauge: the last journal item removed

	// MarketData, TradeRecorder, Settler
	MetricPushedPosition   = "marketdata_position" // gauge: the last journal item pushed
	MetricFeedSkipped      = "marketdata_skipped"  // count: journal items that clients never got, because the feed began later
	MetricFeedMessages     = "marketdata_messages" // count: handed to the Pusher
	MetricRecordedPosition = "recorder_position"   // gauge: the last journal item recorded
	MetricArchivedPosition = "archive_position"    // gauge: the last journal item archived
	MetricSettledPosition  = "settler_position"    // gauge: the last journal item booked
	MetricBalancesUntold   = "settler_push_failed" // count: balances that could not be pushed, and are tried again
)

// noMetrics takes measurements nowhere.
type noMetrics struct{}

func (noMetrics) Count(string, exchange.InstrumentID, int64)           {}
func (noMetrics) Gauge(string, exchange.InstrumentID, float64)         {}
func (noMetrics) Observe(string, exchange.InstrumentID, time.Duration) {}

// metricsOrNone returns m, or one that does nothing for nil.
func metricsOrNone(m Metrics) Metrics {
	if m == nil {
		return noMetrics{}
	}
	return m
}

// loggerOrNone returns l, or one that does nothing for nil.
func loggerOrNone(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
