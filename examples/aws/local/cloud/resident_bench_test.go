//go:build unix

package cloud

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/require"
)

// BenchmarkResident fills the command queues, lets one engine a shard empty
// them, and looks at the journal: how many orders a second, from a tenth of
// them to the last, and how many commands an item has.
//
//	go test -run '^$' -bench Resident -benchtime 4000x ./examples/aws/local/cloud
func BenchmarkResident(b *testing.B) {
	program := serviceProgram(b)
	for _, shards := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			c := startCloud(b, Config{Resident: serviceNames(), Shards: shards})
			ctx := b.Context()
			instruments, err := config.Instruments()
			require.NoError(b, err)
			q, err := sqs.NewQueue(awssqs.NewFromConfig(sdk(c.parts.fauxqs.URL())), sqs.Config{QueueURLs: c.made.commands})
			require.NoError(b, err)
			var batch []pipeline.QueueMessage
			for n := range b.N {
				in := instruments[n%len(instruments)]
				mid, err := in.ParsePrice(mids[in.Symbol()])
				require.NoError(b, err)
				side := exchange.Buy
				if n/len(instruments)%2 == 0 {
					side = exchange.Sell
				}
				cmd := exchange.LimitOrder(in.ID(), exchange.AccountID(1+n%7), side, mid+exchange.Price(n%5-2), 1000)
				cmd.Time, cmd.Held = exchange.Time(time.Now().UnixNano()), 1<<50
				binary.BigEndian.PutUint64(cmd.ID[:], uint64(n+1))
				body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: cmd})
				require.NoError(b, err)
				if batch = append(batch, pipeline.QueueMessage{Instrument: in.ID(), DedupID: cmd.ID, Body: body}); len(batch) == pipeline.MaxSendMessages || n == b.N-1 {
					require.NoError(b, q.Send(ctx, batch))
					batch = batch[:0]
				}
			}
			j, err := dynamodb.NewJournal(ddb.NewFromConfig(sdk(c.parts.dynamoURL)), dynamodb.JournalConfig{Table: journalTable})
			require.NoError(b, err)
			log, at := pipeline.NewLog(j), map[exchange.InstrumentID]pipeline.Position{}
			commands, items, first := 0, 0, 0
			var begin time.Time
			for n := range shards {
				startEngine(b, c, program, n, shards, ShardName("engine", n))
			}
			for deadline := time.Now().Add(5 * time.Minute); commands < b.N; {
				require.False(b, time.Now().After(deadline), "%d of %d commands", commands, b.N)
				for _, in := range instruments {
					read, err := log.Read(ctx, in.ID(), at[in.ID()]+1, pipeline.MaxReadItems)
					require.NoError(b, err)
					for _, item := range read {
						at[in.ID()] = item.Position()
						items++
						commands += len(item.Batch().Entries)
					}
				}
				if begin.IsZero() && commands >= b.N/10 {
					begin, first = time.Now(), commands
				}
				<-time.After(50 * time.Millisecond)
			}
			rate := float64(commands-first) / time.Since(begin).Seconds()
			b.ReportMetric(rate, "orders/s")
			b.ReportMetric(rate/float64(shards), "orders/s/shard")
			b.ReportMetric(float64(commands)/float64(items), "commands/item")
			b.ReportMetric(0, "ns/op")
		})
	}
}
