package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/sns"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/require"
)

var (
	speedRate     = flag.Float64("speed.rate", 20, "orders a second of TestSpeed")
	speedTime     = flag.Duration("speed.time", 3*time.Second, "how long TestSpeed sends them")
	speedShards   = flag.Int("speed.shards", 2, "shards of TestSpeed")
	speedAccounts = flag.Int("speed.accounts", 20, "who trade in TestSpeed")
	speedRisk     = flag.Bool("speed.risk-function", true, "of TestSpeed: risk-checker is a function of its own")
	speedOwn      = flag.Bool("speed.own-dynamodb", false, "of TestSpeed: adapters/standin/dynamo instead of DynamoDB Local")
	speedDirect   = flag.Bool("speed.direct", false, "of TestSpeed: POST /orders goes to the bus directly, as in Terraform")
	speedHandOver = flag.Duration("speed.hand-over", 0, "of TestSpeed: how long each queue rests between two batches")
	speedRequests = flag.Bool("speed.requests", false, "TestSpeed counts the requests to DynamoDB, which slows them")
	speedSVG      = flag.String("speed.svg", "", "draw what TestSpeed measured into this file")
)

// watched are the functions on an order's way, in their order; with
// -speed.direct without the first.
var watched = []string{"api", "order-processor", "matching-engine", "market-data", "push"}

// shot is an order that TestSpeed sends.
type shot struct {
	key      string
	command  exchange.CommandID
	due      time.Time
	accepted time.Time
}

// trace is what became of an order that traded at once: when each function on
// its way was invoked and had answered, and when a client saw the trade.
type trace struct {
	due, accepted, seen time.Time
	began, ended        [5]time.Time // of those that are watched
}

// leaves returns when the order left a function: when it had answered, or the
// next one had the order already, as of a batch of which this order was an
// early one.
func (tr *trace) leaves(i int) time.Time {
	next := tr.seen
	if i+1 < len(watched) {
		next = tr.began[i+1]
	}
	if next.Before(tr.ended[i]) {
		return next
	}
	return tr.ended[i]
}

// in returns how long the order was in a function.
func (tr *trace) in(i int) time.Duration { return max(0, tr.leaves(i).Sub(tr.began[i])) }

// own is the time that functions, and the stores they call, spent on it.
func (tr *trace) own() (sum time.Duration) {
	for i := range watched {
		sum += tr.in(i)
	}
	return sum
}

// TestSpeed measures the way of an order from the HTTP request to the pushed
// trade, and each hop of it. By default it is short: it shows that the
// measurement works. The figures of the README are those of
//
//	chrt -r 20 go test ./examples/aws/local/cloud -run '^TestSpeed$' -v -speed.rate=500 -speed.time=12s -speed.risk-function=false \
//	  -speed.accounts=100 -speed.own-dynamodb -speed.direct -speed.hand-over=10ms
//
// A function's time is from the event handed to its process until its answer,
// or until the next function has the order, with everything that it asks of
// stores meanwhile, and of risk-checker. What lies between two functions is the
// stand-ins of SQS, SNS and EventBridge, and waiting for one's turn.
func TestSpeed(t *testing.T) {
	// What is measured lives in this process too, and most of what it keeps stays.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	if *speedDirect {
		watched = watched[1:]
	}
	var mu sync.Mutex
	var invocations []lambda.Invocation
	measuring := false
	cfg := Config{SweepEvery: time.Minute, DemoAccounts: *speedAccounts, Shards: *speedShards, Direct: *speedDirect, RiskInProcess: !*speedRisk, OwnDynamoDB: *speedOwn, HandOver: *speedHandOver, Done: func(i lambda.Invocation) {
		mu.Lock()
		defer mu.Unlock()
		if measuring {
			invocations = append(invocations, i)
		}
	}}
	requests := map[DynamoRequest]int{}
	if *speedRequests {
		cfg.Faults.DynamoDB = func(r DynamoRequest) ProxyFault {
			mu.Lock()
			defer mu.Unlock()
			if measuring {
				requests[r]++
			}
			return ProxyFault{}
		}
	}
	c := startCloud(t, cfg)
	tr := newTraffic(t, c, 1)
	trades := watchTrades(t, tr)
	// Every process is started, and every book begun, before anything counts.
	warm, cancel := context.WithTimeout(t.Context(), max(2*time.Second, *speedTime/2))
	tr.trade(warm, min(*speedRate, 100))
	cancel()
	mu.Lock()
	measuring = true
	mu.Unlock()
	used := processorTimes()
	shots := shoot(t, tr, *speedRate, *speedTime)
	traces, traded := follow(t, c, tr, shots, trades, func() []lambda.Invocation { // when all are through
		if used != nil {
			t.Log("\n" + processorTable(used, processorTimes(), len(shots)))
		}
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(invocations)
	})
	accepted := 0
	for _, s := range shots {
		if !s.accepted.IsZero() {
			accepted++
		}
	}
	rows := rowsOf(traces)
	t.Logf("%v orders a second for %v over %d instruments, %d shards: %d sent, %d accepted, %d traded at once, %d followed to the client\n%s",
		*speedRate, *speedTime, len(tr.instruments), *speedShards, len(shots), accepted, traded, len(traces), tableOf(rows))
	if *speedRequests {
		t.Log("\n" + requestTable(requests, len(shots)))
	}
	require.NotEmpty(t, traces, "nothing was followed to the client")
	if *speedSVG != "" {
		require.NoError(t, os.WriteFile(*speedSVG, []byte(drawing(rows, *speedRate)), 0o644))
	}
}

// watchTrades notes when a client hears of each trade.
func watchTrades(t *testing.T, tr *traffic) *sync.Map {
	var seen sync.Map // symbol.id -> time.Time
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	t.Cleanup(func() { cancel(); watching.Wait() })
	ready := make(chan struct{})
	begun := map[string]bool{}
	watching.Go(func() {
		tr.listen(ctx, "", func(ctx context.Context, f *client.Feed) error {
			for _, in := range tr.instruments {
				if err := f.Send(ctx, map[string]string{"op": "subscribe", "channel": "trades", "symbol": in.Symbol()}); err != nil {
					return err
				}
			}
			return nil
		}, func(_ context.Context, _ *client.Feed, data []byte) error {
			now := time.Now()
			var m pipeline.FeedTrades
			if err := json.Unmarshal(data, &m); err != nil {
				return err
			}
			switch {
			case m.Type == "error": // no snapshot in time: everything is asked for again
				return errors.New("the feed has an error")
			case m.Type == "snapshot" && !begun[m.Symbol]:
				if begun[m.Symbol] = true; len(begun) == len(tr.instruments) {
					close(ready)
				}
			}
			for _, trade := range m.Trades {
				seen.LoadOrStore(fmt.Sprintf("%s.%d", m.Symbol, trade.ID), now)
			}
			return nil
		})
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the feed does not begin")
	}
	return &seen
}

// shoot sends orders at a rate, each when it is due, whatever has become of
// those before.
func shoot(t *testing.T, tr *traffic, rate float64, duration time.Duration) []*shot {
	rng := rand.New(rand.NewPCG(7, 7))
	var shots []*shot
	var sending sync.WaitGroup
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range int(rate * duration.Seconds()) {
		s := &shot{key: fmt.Sprintf("speed-%d", i), due: start.Add(time.Duration(float64(i) / rate * float64(time.Second)))}
		shots = append(shots, s)
		body := tr.order(rng, s.key)
		account := rng.IntN(len(tr.tokens))
		s.command = pipeline.CommandIDOf(exchange.AccountID(account+1), tr.symbol(body["symbol"]+".1").ID(), exchange.KindNewOrder, s.key)
		timer.Reset(time.Until(s.due))
		<-timer.C
		sending.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := tr.call(ctx, account, "POST", "/orders", "", body); err == nil {
				s.accepted = time.Now()
			}
		})
	}
	sending.Wait()
	return shots
}

// follow finds the way of each order that traded at once, once all of them are
// through. traded is how many there are.
func follow(t *testing.T, c *Cloud, tr *traffic, shots []*shot, trades *sync.Map, invocations func() []lambda.Invocation) (traces []trace, traded int) {
	j := newMirror(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tr.mu.Lock()
	clear(tr.accepted)
	byCommand := map[exchange.CommandID]*shot{}
	for _, s := range shots {
		if byCommand[s.command] = s; !s.accepted.IsZero() {
			tr.accepted[s.command] = s.key
		}
	}
	tr.mu.Unlock()
	require.Empty(t, awaitCommands(ctx, j, tr), "accepted and lost")
	type place struct {
		shot  *shot
		inst  exchange.InstrumentID
		pos   pipeline.Position
		seq   uint64 // of the item's last trade
		trade string
	}
	var places []place
	for _, in := range tr.instruments {
		eachItem(ctx, t, j.log, in, func(item pipeline.Committed) {
			last := uint64(0)
			var mine []place
			for i := range item.Batch().Entries {
				e := &item.Batch().Entries[i]
				first := ""
				for k := range e.Events {
					if ev := &e.Events[k]; ev.Kind == exchange.EventTrade {
						last = ev.Seq
						if first == "" && ev.ID == e.Command.ID {
							first = fmt.Sprintf("%s.%d", in.Symbol(), ev.TradeID)
						}
					}
				}
				if s := byCommand[e.Command.ID]; s != nil && first != "" {
					mine = append(mine, place{s, in.ID(), item.Position(), 0, first})
				}
			}
			for i := range mine {
				mine[i].seq = last
			}
			places = append(places, mine...)
		})
	}
	for _, p := range places { // until the clients have them, or do not get them
		for _, ok := trades.Load(p.trade); !ok && ctx.Err() == nil; _, ok = trades.Load(p.trade) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	found := indexOf(invocations())
	for _, p := range places {
		seen, ok := trades.Load(p.trade)
		one := trace{due: p.shot.due, accepted: p.shot.accepted}
		all := []*lambda.Invocation{found.requests[p.shot.key], found.processed[p.shot.key], found.matched[p.shot.command],
			found.made.first(p.inst, uint64(p.pos)), found.pushed.first(p.inst, p.seq)}
		for i, inv := range all[len(all)-len(watched):] {
			if ok = ok && inv != nil; ok {
				one.began[i], one.ended[i] = inv.Began, inv.Ended
			}
		}
		if ok && !one.accepted.IsZero() {
			one.seen = seen.(time.Time)
			traces = append(traces, one)
		}
	}
	return traces, len(places)
}

// found are invocations by what they were about.
type foundInvocations struct {
	requests, processed map[string]*lambda.Invocation
	matched             map[exchange.CommandID]*lambda.Invocation
	made, pushed        reached
}

// reached is which invocation brought an instrument to a number.
type reached map[exchange.InstrumentID][]reach

type reach struct {
	number uint64
	inv    *lambda.Invocation
}

// first returns the first invocation that came to a number.
func (r reached) first(inst exchange.InstrumentID, number uint64) *lambda.Invocation {
	for _, one := range r[inst] {
		if one.number >= number {
			return one.inv
		}
	}
	return nil
}

func indexOf(invocations []lambda.Invocation) *foundInvocations {
	f := &foundInvocations{map[string]*lambda.Invocation{}, map[string]*lambda.Invocation{}, map[exchange.CommandID]*lambda.Invocation{}, reached{}, reached{}}
	slices.SortFunc(invocations, func(a, b lambda.Invocation) int { return a.Began.Compare(b.Began) })
	for i := range invocations {
		inv := &invocations[i]
		if inv.Err != nil {
			continue
		}
		var ev events.SQSEvent
		name, _, _ := strings.Cut(inv.Function, "-0") // of a shard
		if name != "api" && json.Unmarshal(inv.Event, &ev) != nil {
			continue
		}
		switch name {
		case "api":
			var request events.APIGatewayProxyRequest
			var body struct {
				ClientOrderID string `json:"client_order_id"`
			}
			if json.Unmarshal(inv.Event, &request) == nil && json.Unmarshal([]byte(request.Body), &body) == nil {
				first(f.requests, body.ClientOrderID, inv)
			}
		case "order-processor":
			for _, r := range ev.Records {
				var one events.EventBridgeEvent
				if json.Unmarshal([]byte(r.Body), &one) == nil {
					if req, err := eventbridge.Decode(&one); err == nil {
						first(f.processed, req.Key, inv)
					}
				}
			}
		case "matching-engine":
			groups, _, _ := sqs.Groups(&ev)
			for _, g := range groups {
				for _, q := range g.Messages {
					if m, err := pipeline.DecodeMessage(q.Body); err == nil {
						first(f.matched, m.Command.ID, inv)
					}
				}
			}
		case "market-data":
			for _, r := range ev.Records {
				if m, err := sns.Decode(r.Body); err == nil {
					f.made[m.Instrument] = append(f.made[m.Instrument], reach{uint64(m.To), inv})
				}
			}
		case "push":
			for _, r := range ev.Records {
				var letter struct {
					Pushes []struct {
						Channel    pipeline.Channel      `json:"channel"`
						Instrument exchange.InstrumentID `json:"instrument"`
						Seq        uint64                `json:"seq"`
						To         string                `json:"to"`
					} `json:"pushes"`
				}
				_ = json.Unmarshal([]byte(r.Body), &letter) // those that are packed are snapshots
				for _, p := range letter.Pushes {
					if p.Channel == pipeline.ChannelTrades && p.To == "" {
						f.pushed[p.Instrument] = append(f.pushed[p.Instrument], reach{p.Seq, inv})
					}
				}
			}
		}
	}
	return f
}

func first[K comparable](m map[K]*lambda.Invocation, key K, inv *lambda.Invocation) {
	if m[key] == nil {
		m[key] = inv
	}
}

// row is a line of the table.
type row struct {
	name          string
	own           bool
	p50, p90, p99 time.Duration
}

func rowsOf(traces []trace) (rows []row) {
	add := func(name string, own bool, of func(tr *trace) time.Duration) {
		list := make([]time.Duration, len(traces))
		for i := range traces {
			list[i] = of(&traces[i])
		}
		slices.Sort(list)
		at := func(p int) time.Duration {
			if len(list) == 0 {
				return 0
			}
			return list[min(len(list)*p/100, len(list)-1)]
		}
		rows = append(rows, row{name, own, at(50), at(90), at(99)})
	}
	for i, name := range watched {
		add("before "+name, false, func(tr *trace) time.Duration {
			if i == 0 {
				return tr.began[0].Sub(tr.due)
			}
			return tr.began[i].Sub(tr.leaves(i - 1))
		})
		add(name, true, func(tr *trace) time.Duration { return tr.in(i) })
	}
	add("our own share: functions and stores", true, (*trace).own)
	add("request to 202", false, func(tr *trace) time.Duration { return tr.accepted.Sub(tr.due) })
	add("request to the pushed trade", false, func(tr *trace) time.Duration { return tr.seen.Sub(tr.due) })
	return rows
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func tableOf(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ms\tp50\tp90\tp99\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", r.name, millis(r.p50), millis(r.p90), millis(r.p99))
	}
	_ = w.Flush()
	return b.String()
}

// requestTable says what was asked of DynamoDB for n orders.
func requestTable(requests map[DynamoRequest]int, n int) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	all := slices.SortedFunc(maps.Keys(requests), func(a, b DynamoRequest) int { return requests[b] - requests[a] })
	sum := 0
	fmt.Fprintln(w, "requests of an order\tof\toperation\ttable")
	for _, r := range all {
		sum += requests[r]
		fmt.Fprintf(w, "%.2f\t%s\t%s\t%s\n", float64(requests[r])/float64(n), r.Function, r.Operation, r.Table)
	}
	fmt.Fprintf(w, "%.2f\tall\n", float64(sum)/float64(n))
	_ = w.Flush()
	return b.String()
}

// drawing draws the rows: p50 full, p99 pale, what is our own in another colour.
func drawing(rows []row, rate float64) string {
	const left, width, line = 260, 560, 26
	longest := time.Millisecond
	for _, r := range rows {
		longest = max(longest, r.p99)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", left+width+90, line*len(rows)+50)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="24" font-size="15">%v orders a second: p50 (full) and p99 (pale), ms; functions and stores in blue, queues and waiting in grey</text>`+"\n", rate)
	for i, r := range rows {
		y, colour := 40+i*line, "#888888"
		if r.own {
			colour = "#2266bb"
		}
		scale := func(d time.Duration) float64 { return float64(d) / float64(longest) * width }
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+15, r.name)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="16" fill="%s" opacity="0.35"/>`, left, y+3, scale(r.p99), colour)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="16" fill="%s"/>`, left, y+3, scale(r.p50), colour)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s / %s</text>`+"\n", left+scale(r.p99)+6, y+15, millis(r.p50), millis(r.p99))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
