package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Service is a service of the pipeline for a process that stays: it takes its
// work from queues, or does something now and then.
type Service struct {
	Client *awssqs.Client
	Queues []string // URLs
	Handle func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)
	Now    func(context.Context) error // what to do now and then; nil: nothing
	// Load does what the first message would have to wait for. nil: nothing.
	Load func(context.Context) error
}

// NewService builds the service that the configuration is of.
func NewService(ctx context.Context, e *Env) (*Service, error) {
	c := e.Config
	s := &Service{Client: awssqs.NewFromConfig(e.sdk())}
	var h any
	var err error
	switch c.Function {
	case "order-processor":
		s.Queues = []string{c.Requests}
		h, err = OrderProcessor(ctx, e)
	case "matching-engine":
		h, err = s.engine(e)
	case "market-data":
		s.Queues = c.MarketData
		h, err = MarketData(ctx, e)
	case "trade-recorder":
		s.Queues = c.Recorder
		h, err = TradeRecorder(ctx, e)
	case "settler":
		s.Queues = c.Settler
		h, err = Settler(ctx, e)
	case "sweeper":
		h, err = Sweeper(ctx, e)
	default:
		err = fmt.Errorf("there is no service %q", c.Function)
	}
	if failed := e.Failed(); failed != nil { // it is why it could not do better
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Function, err)
	}
	switch h := h.(type) {
	case func(context.Context, events.SQSEvent) (events.SQSEventResponse, error):
		s.Handle = h
	case func(context.Context, json.RawMessage) (any, error): // events of several kinds
		s.Handle = func(ctx context.Context, ev events.SQSEvent) (answer events.SQSEventResponse, err error) {
			raw, err := json.Marshal(ev)
			if err != nil {
				return answer, err
			}
			out, err := h(ctx, raw)
			answer, _ = out.(events.SQSEventResponse)
			return answer, err
		}
	case func(context.Context) error:
		s.Now = h
	default:
		return nil, fmt.Errorf("%s: a handler of type %T", c.Function, h)
	}
	return s, nil
}

// engine builds the matching engine of this process's shards.
func (s *Service) engine(e *Env) (any, error) {
	c := e.Config
	for i, url := range c.Commands {
		if i%c.Engines == c.Engine {
			s.Queues = append(s.Queues, url)
		}
	}
	var own []*exchange.Instrument
	for _, in := range c.Instruments {
		if shardOf(in.ID(), len(c.Commands))%c.Engines == c.Engine {
			own = append(own, in)
		}
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("%w: no instrument is of the shards of engine %d of %d", pipeline.ErrInvalid, c.Engine, c.Engines)
	}
	m, err := e.Engine(own)
	if err != nil {
		return nil, err
	}
	s.Load = func(ctx context.Context) error {
		var failed []error
		for _, in := range own {
			switch err := m.Load(ctx, in.ID()); {
			case errors.Is(err, pipeline.ErrDiverged), errors.Is(err, pipeline.ErrRules): // it stands still, and only it
				e.Logger.ErrorContext(ctx, "the instrument stands still", "instrument", in.Symbol(), "error", err)
			case err != nil:
				failed = append(failed, err)
			}
		}
		return errors.Join(failed...)
	}
	return e.Commands(m.Handle), nil
}
