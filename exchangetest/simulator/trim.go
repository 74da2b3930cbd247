package simulator

import (
	"context"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// trim removes items from the journal as asked, after a look whether anybody
// still needs them, and keeps them for the checks at the end.
func (w *world) trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	for len(w.trimmed[inst]) < int(pos) {
		next := pipeline.Position(len(w.trimmed[inst]) + 1)
		items, err := w.journal.Read(ctx, inst, next, int(min(pos-next+1, pipeline.MaxReadItems)))
		if err != nil {
			return err
		}
		if len(items) == 0 {
			break
		}
		w.trimmed[inst] = append(w.trimmed[inst], items...)
	}
	recorded, err := w.trades.Recorded(ctx, inst)
	if err != nil {
		return err
	}
	settled, err := w.balances.Settled(ctx, inst)
	if err != nil {
		return err
	}
	archived, err := pipeline.ArchivedTo(ctx, w.archive, w.instrumentOf(inst))
	if err != nil {
		return err
	}
	if pos > recorded || pos > settled || pos > w.wire.pushed[inst] || pos > archived {
		w.violated("instrument %d is trimmed to %d: recorded %d, settled %d, pushed %d, archived %d", inst, pos, recorded, settled, w.wire.pushed[inst], archived)
	}
	return w.journal.Trim(ctx, inst, pos)
}
