package progress

import (
	"context"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
)

// Stage is a hop on a command's way.
type Stage string

// The hops, in the usual order.
const (
	StageReceived  Stage = "received"  // at the edge, validated
	StageQueued    Stage = "queued"    // funds are held, it waits for the matching engine
	StageCommitted Stage = "committed" // it is in the journal
	StageAnswered  Stage = "answered"  // the client was told
	StageRecorded  Stage = "recorded"  // in the trade store
	StageSettled   Stage = "settled"   // in the balances
	StagePushed    Stage = "pushed"    // to the subscribers
)

// MaxTraces is how many commands' ways are kept, the latest ones.
const MaxTraces = 4096

// Hop is when a command was where.
type Hop struct {
	Stage Stage
	At    time.Time
	Took  time.Duration // since the first hop
}

// Trace keeps the ways of the latest commands and writes each hop to the log
// at level debug. It is safe for concurrent use; a nil Trace does nothing.
type Trace struct {
	log  *slog.Logger
	now  func() time.Time
	mu   sync.Mutex
	hops map[exchange.CommandID][]Hop
	ring []exchange.CommandID
	next int
}

// NewTrace returns an empty Trace.
func NewTrace(log *slog.Logger, now func() time.Time) *Trace {
	return &Trace{log: log, now: now, hops: map[exchange.CommandID][]Hop{}}
}

// Mark notes that a command is at a stage. Of several times the first counts.
func (t *Trace) Mark(id exchange.CommandID, stage Stage) {
	if t == nil || id == (exchange.CommandID{}) {
		return
	}
	hop, ok := t.keep(id, stage)
	if ok && t.log.Enabled(context.Background(), slog.LevelDebug) {
		t.log.Debug("hop", "command_id", hex.EncodeToString(id[:]), "stage", string(stage), "took", hop.Took)
	}
}

func (t *Trace) keep(id exchange.CommandID, stage Stage) (Hop, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	hops, known := t.hops[id]
	for i := range hops {
		if hops[i].Stage == stage {
			return Hop{}, false
		}
	}
	if !known {
		if len(t.ring) < MaxTraces {
			t.ring = append(t.ring, id)
		} else {
			delete(t.hops, t.ring[t.next])
			t.ring[t.next] = id
			t.next = (t.next + 1) % MaxTraces
		}
	}
	hop := Hop{Stage: stage, At: t.now()}
	if known {
		hop.Took = hop.At.Sub(hops[0].At)
	}
	t.hops[id] = append(hops, hop)
	return hop, true
}

// Hops returns the way of a command, nil when it is not known (any more).
func (t *Trace) Hops(id exchange.CommandID) []Hop {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Hop(nil), t.hops[id]...)
}
