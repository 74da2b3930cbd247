package memory_test

import (
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

var (
	_ pipeline.Journal      = (*memory.Journal)(nil)
	_ pipeline.EventBus     = (*memory.Bus)(nil)
	_ pipeline.CommandQueue = (*memory.Queue)(nil)
	_ pipeline.BookStore    = (*memory.BookStore)(nil)
	_ pipeline.Balances     = (*memory.Balances)(nil)
	_ pipeline.Publisher    = (*memory.Publisher)(nil)
	_ pipeline.TradeStore   = (*memory.TradeStore)(nil)
	_ pipeline.Archive      = (*memory.Archive)(nil)
	_ pipeline.Pusher       = (*memory.Pusher)(nil)
	_ pipeline.Listener     = (*memory.Pusher)(nil)
	_ pipeline.Metrics      = (*memory.Metrics)(nil)
)
