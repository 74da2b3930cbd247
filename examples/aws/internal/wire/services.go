package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/pipeline"
)

// Settings of the matching engine. An environment of Lambda may end at any
// time, so the book is saved more often than in a process that stays.
const (
	BookEvery   = 64
	DepthLevels = pipeline.MaxDepthLevels
	DepthOrders = 1000
)

// APIConfig is what the REST API works with.
type APIConfig struct {
	Bus      pipeline.EventBus
	Log      *pipeline.Log
	Trades   pipeline.TradeStore
	Books    pipeline.BookStore
	Balances pipeline.Balances
}

// API returns the REST API.
func (e *Env) API(c APIConfig) (http.Handler, error) {
	p, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: e.Instruments(), Risk: nowhere{}})
	if err != nil {
		return nil, err
	}
	at := &Positions{Log: c.Log, Trades: c.Trades, Balances: c.Balances}
	edge := &Edge{Instruments: e.Instruments(), Prepare: p.Prepare, Bus: c.Bus}
	return restAPI(e.Instruments(), edge, at, c.Trades, c.Books, c.Balances, e.Metrics, e.Logger), nil
}

// RiskChecker returns the RiskChecker.
func (e *Env) RiskChecker(ctx context.Context) (*pipeline.RiskChecker, error) {
	return pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{
		Instruments: e.Instruments(), Balances: e.Balances(), Queue: e.Queue(), Orders: e.Trades(ctx), Books: e.Books(), Metrics: e.Metrics, Logger: e.Logger,
	})
}

// Risk returns what admits commands: the function that RISK_FUNCTION names, or
// a RiskChecker in this one.
func (e *Env) Risk(ctx context.Context) (pipeline.Admission, error) {
	if e.Config.Risk == "" {
		return e.RiskChecker(ctx)
	}
	return newRemoteRisk(awslambda.NewFromConfig(e.sdk()), e.Config.Risk), nil
}

// admission is the event of risk-checker.
type admission struct {
	Message []byte `json:"message"` // pipeline.AppendMessage
}

// remoteRisk is a risk-checker in a function of its own. It waits for it: what
// fails there fails here, and the request is delivered again.
type remoteRisk struct {
	client   *awslambda.Client
	function string
	room     chan struct{} // has something in it for each that is asked now
}

// RiskParallel is how many commands an environment of order-processor has
// checked elsewhere at a time. risk-checker's concurrency is at least that many
// times order-processor's, or it throttles.
const RiskParallel = 2

func newRemoteRisk(client *awslambda.Client, function string) *remoteRisk {
	return &remoteRisk{client, function, make(chan struct{}, RiskParallel)}
}

// Handle implements pipeline.Admission.
func (r *remoteRisk) Handle(ctx context.Context, m pipeline.Message) error {
	body, err := pipeline.AppendMessage(nil, &m)
	if err != nil {
		return err
	}
	event, err := json.Marshal(admission{body})
	if err != nil {
		return fmt.Errorf("asking the risk checker: %w", err)
	}
	select {
	case r.room <- struct{}{}:
		defer func() { <-r.room }()
	case <-ctx.Done():
		return fmt.Errorf("asking the risk checker: waiting for room: %w", ctx.Err())
	}
	out, err := r.client.Invoke(ctx, &awslambda.InvokeInput{FunctionName: &r.function, Payload: event})
	if err != nil {
		return fmt.Errorf("asking the risk checker: %w", err)
	}
	if out.FunctionError != nil {
		return fmt.Errorf("asking the risk checker: %s: %.500s", *out.FunctionError, out.Payload)
	}
	return nil
}

// Admit answers the events of order-processor.
func Admit(risk pipeline.Admission) func(context.Context, admission) error {
	return func(ctx context.Context, a admission) error {
		m, err := pipeline.DecodeMessage(a.Message)
		if err != nil {
			return err
		}
		return risk.Handle(ctx, m)
	}
}

// Commands handles the events of a command queue.
func (e *Env) Commands(handle func(ctx context.Context, inst exchange.InstrumentID, messages []pipeline.QueueMessage) (int, error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return e.Batches(func(ctx context.Context, _ string, records []events.SQSMessage) (int, error) {
		groups, _, err := sqs.Groups(&events.SQSEvent{Records: records})
		if err != nil {
			return 0, err
		}
		return handle(ctx, groups[0].Instrument, groups[0].Messages)
	})
}

// Snapshots returns what makes the first message of a subscription.
func (e *Env) Snapshots(log *pipeline.Log, trades pipeline.TradeStore, books pipeline.BookStore, balances pipeline.Balances) apigateway.Snapshot {
	s := &view.Snapshots{Board: &Positions{Log: log, Trades: trades, Balances: balances}, Store: trades, Books: books, Balances: balances, Instruments: e.Instruments(), Now: time.Now}
	return func(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (uint64, []byte, error) {
		ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
		defer cancel()
		snap, err := s.Snapshot(ctx, channel, in, acct)
		return snap.Seq, snap.Data, err
	}
}

// snapshotTimeout bounds how long a snapshot waits for the stores to catch up
// with the journal.
const snapshotTimeout = 3 * time.Second

// Identity returns what tells a WebSocket's client who it is.
func Identity(v *auth.Verifier) func(token string) (apigateway.Identity, error) {
	return func(token string) (apigateway.Identity, error) {
		id, err := v.Verify(token)
		if errors.Is(err, auth.ErrExpired) {
			err = apigateway.ErrTokenExpired
		}
		return apigateway.Identity{Account: id.Account, Expires: id.Expires}, err
	}
}

// Sockets handles the events of the WebSocket API.
func (e *Env) Sockets(s *apigateway.Sessions) func(context.Context, events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
	return func(ctx context.Context, ev events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
		id := ev.RequestContext.ConnectionID
		ok := events.APIGatewayProxyResponse{StatusCode: http.StatusOK}
		switch ev.RequestContext.EventType {
		case "CONNECT":
			said, _ := ev.RequestContext.Authorizer.(map[string]any)
			return ok, s.Connect(ctx, id, identityOf(said))
		case "DISCONNECT":
			return ok, s.Disconnect(ctx, id)
		}
		answer, err := s.Message(ctx, id, []byte(ev.Body))
		if errors.Is(err, pipeline.ErrNotFound) { // it is being closed
			return events.APIGatewayProxyResponse{StatusCode: http.StatusGone}, nil
		}
		ok.Body = string(answer)
		return ok, err
	}
}

// identityOf reads what the authorizer has found, which may be nothing.
func identityOf(said map[string]any) apigateway.Identity {
	id := apigateway.Identity{Account: accountOf(said)}
	text, _ := said[authorizerExpires].(string)
	if s, err := strconv.ParseInt(text, 10, 64); err == nil && id.Account != 0 {
		id.Expires = time.Unix(s, 0)
	}
	return id
}

// MarketData returns what brings requests for snapshots to market-data: to the
// queue of the shard that the instrument is of.
func (e *Env) MarketData() apigateway.Sender {
	s := &shardedSender{}
	for _, url := range e.Config.MarketData {
		s.shards = append(s.shards, &apigateway.SQS{Client: awssqs.NewFromConfig(e.sdk()), URL: url})
	}
	return s
}

type shardedSender struct{ shards []apigateway.Sender }

// Send implements apigateway.Sender. What belongs to no instrument goes to the
// first shard.
func (s *shardedSender) Send(ctx context.Context, envelopes []apigateway.Envelope) error {
	parts := make([][]apigateway.Envelope, len(s.shards))
	for _, env := range envelopes {
		shard := 0
		if text, ok := strings.CutPrefix(env.Group, "instrument-"); ok {
			inst, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return fmt.Errorf("asking market-data: %w: group %q", pipeline.ErrInvalid, env.Group)
			}
			shard = shardOf(exchange.InstrumentID(inst), len(s.shards))
			env.Group = text // that of the instrument's notices, so that it comes in its place among them
		}
		parts[shard] = append(parts[shard], env)
	}
	for i, part := range parts {
		if len(part) > 0 {
			if err := s.shards[i].Send(ctx, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// Push handles the events of push: its queue's, and its schedule's, upon which
// every connection gets a heartbeat.
func (e *Env) Push(d *apigateway.Deliverer) func(context.Context, json.RawMessage) (any, error) {
	queue := e.Batches(func(ctx context.Context, _ string, records []events.SQSMessage) (int, error) {
		bodies := make([]string, len(records))
		for i := range records {
			bodies[i] = records[i].Body
		}
		if err := d.Deliver(ctx, bodies...); err != nil {
			return 0, err
		}
		return len(records), nil
	})
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		if ev, ok, err := queueEvent(raw); ok || err != nil {
			if err != nil {
				return nil, err
			}
			return queue(ctx, ev)
		}
		return nil, d.Sweep(ctx)
	}
}

// queueEvent reads an event of SQS; ok is false when it is another.
func queueEvent(raw json.RawMessage) (ev events.SQSEvent, ok bool, err error) {
	if err := json.Unmarshal(raw, &ev); err != nil {
		return ev, false, fmt.Errorf("reading an event: %w", err)
	}
	return ev, len(ev.Records) > 0, nil
}

// Archived returns how far an instrument's journal is archived.
func (e *Env) Archived() func(context.Context, exchange.InstrumentID) (pipeline.Position, error) {
	archive := e.Archive()
	instruments := map[exchange.InstrumentID]*exchange.Instrument{}
	for _, in := range e.Instruments() {
		instruments[in.ID()] = in
	}
	return func(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
		return pipeline.ArchivedTo(ctx, archive, instruments[inst])
	}
}

// Consumers returns the consumers of the journal, as the sweeper sees them. One
// that is behind is told again of the last item, and so are the others, who
// have it.
func (e *Env) Consumers(ctx context.Context, log *pipeline.Log, publisher pipeline.Publisher) []pipeline.Consumer {
	trades, balances, connections := e.Trades(ctx), e.Balances(), e.Connections()
	if e.failed != nil {
		return nil
	}
	w := &waker{log: log, publisher: publisher, told: map[exchange.InstrumentID]told{}}
	return []pipeline.Consumer{
		{Name: "market-data", Recorded: connections.Pushed, Handle: w.tell},
		{Name: "trade-recorder", Recorded: trades.Recorded, Handle: w.tell},
		{Name: "settler", Recorded: balances.Settled, Handle: w.tell},
	}
}

// waker publishes the last item of an instrument again, not more often than
// tellEvery while there is no other.
type waker struct {
	log       *pipeline.Log
	publisher pipeline.Publisher
	told      map[exchange.InstrumentID]told // a sweeper makes one pass at a time
}

type told struct {
	pos pipeline.Position
	at  time.Time
}

// tellEvery is longer than what a consumer that works takes.
const tellEvery = 10 * time.Second

func (w *waker) tell(ctx context.Context, n pipeline.Notice) error {
	last := w.told[n.Instrument]
	if last.pos == n.Position && time.Since(last.at) < tellEvery {
		return nil
	}
	items, err := w.log.Read(ctx, n.Instrument, n.Position, 1)
	if err != nil || len(items) == 0 {
		return err
	}
	if err := w.publisher.Publish(ctx, items); err != nil {
		return err
	}
	w.told[n.Instrument] = told{n.Position, time.Now()}
	return nil
}
