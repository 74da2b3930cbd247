package eventbridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"

	"github.com/castlecloud/exchange/pipeline"
)

// The envelope of a request.
const (
	Source     = "castlecloud.exchange"
	DetailType = "Request"
	// Pattern matches the events of requests and no others.
	Pattern = `{"source":["` + Source + `"],"detail-type":["` + DetailType + `"]}`
)

// MaxEntries is how many requests one call of PutEvents takes.
const MaxEntries = 10

// ErrEvent says that an event is no request: it will not be one next time.
var ErrEvent = errors.New("no event of a request")

// Config says where requests are put.
type Config struct {
	// BusName is the name or the ARN of the event bus.
	BusName string
}

// Bus is a pipeline.EventBus. Make it with NewBus.
type Bus struct {
	client *eventbridge.Client
	name   string
}

// NewBus checks the settings. Nothing is called yet.
func NewBus(client *eventbridge.Client, cfg Config) (*Bus, error) {
	if client == nil {
		return nil, fmt.Errorf("eventbridge: %w: no client", pipeline.ErrInvalid)
	}
	if n := len(cfg.BusName); n < 1 || n > 1600 || strings.ContainsAny(cfg.BusName, " \t\n") {
		return nil, fmt.Errorf("eventbridge: %w: BusName %.80q: expected the name or the ARN of an event bus", pipeline.ErrInvalid, cfg.BusName)
	}
	return &Bus{client: client, name: cfg.BusName}, nil
}

// Put implements pipeline.EventBus. Further pipeline.ErrTooLarge, of a request
// that no client can send.
func (b *Bus) Put(ctx context.Context, req *pipeline.Request) error {
	return b.PutAll(ctx, []*pipeline.Request{req})[0]
}

// PutAll puts requests, MaxEntries in a call, and returns what came of each:
// nil, or as Put. One that failed holds up no other, and may be put again
// alone.
func (b *Bus) PutAll(ctx context.Context, reqs []*pipeline.Request) []error {
	errs := make([]error, len(reqs))
	for from := 0; from < len(reqs); from += MaxEntries {
		to := min(from+MaxEntries, len(reqs))
		b.putSome(ctx, reqs[from:to], errs[from:to])
	}
	return errs
}

func (b *Bus) putSome(ctx context.Context, reqs []*pipeline.Request, errs []error) {
	var entries []types.PutEventsRequestEntry
	var of []int // whose an entry is
	for i, req := range reqs {
		detail, err := pipeline.EncodeRequest(req)
		if err != nil {
			errs[i] = fmt.Errorf("putting a request: %w", err)
			continue
		}
		of = append(of, i)
		entries = append(entries, types.PutEventsRequestEntry{EventBusName: &b.name, Source: aws.String(Source), DetailType: aws.String(DetailType), Detail: aws.String(string(detail))})
	}
	if len(entries) == 0 {
		return
	}
	answer, err := b.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: entries})
	if err == nil && len(answer.Entries) != len(entries) {
		err = fmt.Errorf("%d entries, and an answer of %d", len(entries), len(answer.Entries))
	}
	for at, i := range of {
		switch {
		case err != nil:
			var api smithy.APIError
			errs[i] = failure(err, errors.As(err, &api) && throttled(api.ErrorCode()))
		case answer.Entries[at].ErrorCode != nil:
			e := &answer.Entries[at]
			errs[i] = failure(fmt.Errorf("%s: %s", *e.ErrorCode, aws.ToString(e.ErrorMessage)), throttled(*e.ErrorCode))
		case aws.ToString(answer.Entries[at].EventId) == "":
			errs[i] = failure(errors.New("the answer says neither that it was taken nor that it was not"), false)
		}
	}
}

func failure(err error, full bool) error {
	if full {
		return fmt.Errorf("putting a request: %w: %w", pipeline.ErrFull, err)
	}
	return fmt.Errorf("putting a request: %w", err)
}

func throttled(code string) bool {
	return code == "ThrottlingException" || code == "Throttling" || code == "LimitExceededException"
}

// Decode returns the request of an event. ErrEvent: it is none, and trying
// again is of no use; it belongs into the log.
func Decode(event *events.EventBridgeEvent) (*pipeline.Request, error) {
	if event.Source != Source || event.DetailType != DetailType {
		return nil, fmt.Errorf("%w: source %.80q, detail type %.80q", ErrEvent, event.Source, event.DetailType)
	}
	req, err := pipeline.DecodeRequest(event.Detail)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return req, nil
}
