package dynamodb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of what a call tries, beside what the client tries by itself
// (aws.Config.RetryMaxAttempts, 3 unless set).
const (
	// MaxTries is how often a call is tried that met others at the same items,
	// or was throttled; then it fails with ErrContended.
	MaxTries = 40
	// MaxDoubts is how often a call is tried whose answer was lost. Each try
	// first reads what has become of the one before.
	MaxDoubts = 3
	// A try waits, at random, from half of these to all of them, twice as long
	// each time.
	retryFirst = 2 * time.Millisecond
	retryMost  = 250 * time.Millisecond
	// MaxParallel is how many requests one call has on their way at once.
	MaxParallel = 16

	maxTransaction = 100 // items; DynamoDB's
	maxGet         = 100 // keys of one BatchGetItem
	maxWrite       = 25  // of one BatchWriteItem
)

// ErrContended says that others kept changing the same items, or the table kept
// throttling. Nothing was written by the last try; the call may be repeated.
var ErrContended = errors.New("contended: given up after many tries")

// errAgain asks for another try: what was read has changed since.
var errAgain = errors.New("changed by somebody else")

// store is a table.
type store struct {
	client *ddb.Client
	table  string
}

func newStore(what string, client *ddb.Client, table string) (store, error) {
	switch {
	case client == nil:
		return store{}, fmt.Errorf("%s: %w: no client", what, pipeline.ErrInvalid)
	case table == "":
		return store{}, fmt.Errorf("%s: %w: Table is empty, expected the name of a table", what, pipeline.ErrInvalid)
	}
	return store{client, table}, nil
}

// verdict says what to make of an error.
type verdict uint8

const (
	final     verdict = 1 // no use to try again
	contended verdict = 2 // nothing was written, and it may work now
	doubtful  verdict = 3 // nobody knows
)

// Codes of a reason why a transaction was canceled.
const (
	codeNone      = "None"
	codeCondition = "ConditionalCheckFailed"
	codeConflict  = "TransactionConflict"
	codeThrottled = "ThrottlingError"
	codeProvision = "ProvisionedThroughputExceeded"
)

func judge(err error) verdict {
	var canceled *types.TransactionCanceledException
	var api smithy.APIError
	switch {
	case errors.Is(err, errAgain):
		return contended
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return final
	case errors.As(err, &canceled):
		for i := range canceled.CancellationReasons {
			switch aws.ToString(canceled.CancellationReasons[i].Code) {
			case codeNone, codeCondition, codeConflict, codeThrottled, codeProvision:
			default: // ValidationError, ItemCollectionSizeLimitExceeded, ...
				return final
			}
		}
		return contended
	case errors.As(err, &api):
		switch api.ErrorCode() {
		case "ConditionalCheckFailedException", "TransactionConflictException", "TransactionInProgressException", "ProvisionedThroughputExceededException",
			"RequestLimitExceeded", "ThrottlingException", "Throttling", "LimitExceededException", "ReplicatedWriteConflictException":
			return contended
		}
		if api.ErrorFault() == smithy.FaultServer {
			return doubtful
		}
		return final
	}
	// Whatever was not answered, or not by DynamoDB.
	var op *smithy.OperationError
	if errors.As(err, &op) {
		return doubtful
	}
	return final
}

// retry runs try until it is done or fails for good. try begins with reading
// what has become of the try before.
func retry(ctx context.Context, try func() error) error {
	wait := retryFirst
	for tries, doubts := 1, 0; ; tries++ {
		err := try()
		if err == nil {
			return nil
		}
		switch judge(err) {
		case final:
			return err
		case doubtful:
			if doubts++; doubts >= MaxDoubts {
				return err
			}
		case contended:
			if tries >= MaxTries {
				return fmt.Errorf("%w: %d tries: %w", ErrContended, tries, err)
			}
		}
		if err := pause(ctx, wait/2+mrand.N(wait/2)); err != nil {
			return err
		}
		wait = min(2*wait, retryMost)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed reports whether the condition of item i of a transaction was not met.
func failed(err error, i int) bool {
	var canceled *types.TransactionCanceledException
	return errors.As(err, &canceled) && i < len(canceled.CancellationReasons) && aws.ToString(canceled.CancellationReasons[i].Code) == codeCondition
}

// unmet reports whether the condition of a single write was not met.
func unmet(err error) bool {
	var c *types.ConditionalCheckFailedException
	return errors.As(err, &c)
}

// get reads an item, strongly consistent; nil: there is none. With names it
// reads these attributes alone.
func (s *store) get(ctx context.Context, k key, names ...string) (item, error) {
	in := &ddb.GetItemInput{TableName: aws.String(s.table), Key: k.item(), ConsistentRead: aws.Bool(true)}
	if len(names) > 0 {
		in.ExpressionAttributeNames = map[string]string{}
		var projection string
		for i, name := range names {
			alias := fmt.Sprintf("#%d", i)
			in.ExpressionAttributeNames[alias] = name
			projection += "," + alias
		}
		in.ProjectionExpression = aws.String(projection[1:])
	}
	var out *ddb.GetItemOutput
	err := retry(ctx, func() (err error) {
		out, err = s.client.GetItem(ctx, in)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", k, err)
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}

// getAll reads items, each strongly consistent, but not all at one time. The
// answer has them by key.
func (s *store) getAll(ctx context.Context, keys []key) (map[key]item, error) {
	out := make(map[key]item, len(keys))
	for chunk := range slices.Chunk(keys, maxGet) {
		ask := make([]item, len(chunk))
		for i := range chunk {
			ask[i] = chunk[i].item()
		}
		err := retry(ctx, func() error {
			got, err := s.client.BatchGetItem(ctx, &ddb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{s.table: {Keys: ask, ConsistentRead: aws.Bool(true)}}})
			if err != nil {
				return err
			}
			for _, it := range got.Responses[s.table] {
				f := fields{item: it}
				out[key{f.text(PartitionKey), f.text(SortKey)}] = it
			}
			if ask = got.UnprocessedKeys[s.table].Keys; len(ask) > 0 {
				return errAgain
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading %d items: %w", len(chunk), err)
		}
	}
	return out, nil
}

// put is an item of a transaction: it replaces the whole item.
func (s *store) put(it item, condition string, names map[string]string, values item) types.TransactWriteItem {
	p := &types.Put{TableName: aws.String(s.table), Item: it, ExpressionAttributeNames: names, ExpressionAttributeValues: values}
	if condition != "" {
		p.ConditionExpression = aws.String(condition)
	}
	return types.TransactWriteItem{Put: p}
}

const absent = "attribute_not_exists(" + PartitionKey + ")"

// write runs a transaction under a token: within ten minutes the same token
// writes once, so that the client may repeat it by itself.
func (s *store) write(ctx context.Context, token string, items ...types.TransactWriteItem) error {
	_, err := s.client.TransactWriteItems(ctx, &ddb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: aws.String(token)})
	return err
}

// newToken returns 32 random hexadecimal digits.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// update changes one item under a condition. It reports false when the
// condition is not met, which may be because an earlier try met it.
func (s *store) update(ctx context.Context, k key, expression, condition string, names map[string]string, values item) (bool, error) {
	in := &ddb.UpdateItemInput{TableName: aws.String(s.table), Key: k.item(), UpdateExpression: aws.String(expression), ExpressionAttributeNames: names, ExpressionAttributeValues: values}
	if condition != "" {
		in.ConditionExpression = aws.String(condition)
	}
	met := true
	err := retry(ctx, func() error {
		_, err := s.client.UpdateItem(ctx, in)
		if unmet(err) {
			met = false
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("updating %s: %w", k, err)
	}
	return met, nil
}

// remove deletes items, those that are not there too.
func (s *store) remove(ctx context.Context, keys []key) error {
	chunks := slices.Collect(slices.Chunk(keys, maxWrite))
	return each(ctx, len(chunks), func(ctx context.Context, i int) error {
		ask := make([]types.WriteRequest, len(chunks[i]))
		for j := range chunks[i] {
			ask[j].DeleteRequest = &types.DeleteRequest{Key: chunks[i][j].item()}
		}
		err := retry(ctx, func() error {
			got, err := s.client.BatchWriteItem(ctx, &ddb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{s.table: ask}})
			if err != nil {
				return err
			}
			if ask = got.UnprocessedItems[s.table]; len(ask) > 0 {
				return errAgain
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("removing %d items: %w", len(chunks[i]), err)
		}
		return nil
	})
}

// query reads the items of a partition whose sort key lies between two, both
// included, strongly consistent and in order, page by page, until more says no.
func (s *store) query(ctx context.Context, partition, index, sort, from, to string, limit int, more func(page []item) (bool, error)) error {
	in := &ddb.QueryInput{TableName: aws.String(s.table), ConsistentRead: aws.Bool(true), Limit: aws.Int32(int32(limit)),
		KeyConditionExpression:    aws.String("#p = :p AND #s BETWEEN :from AND :to"),
		ExpressionAttributeNames:  map[string]string{"#p": PartitionKey, "#s": sort},
		ExpressionAttributeValues: item{":p": str(partition), ":from": str(from), ":to": str(to)},
	}
	if index != "" {
		in.IndexName = aws.String(index)
	}
	for {
		var out *ddb.QueryOutput
		err := retry(ctx, func() (err error) {
			out, err = s.client.Query(ctx, in)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading items of %s: %w", key{partition: partition}, err)
		}
		on, err := more(out.Items)
		if err != nil || !on || len(out.LastEvaluatedKey) == 0 {
			return err
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// each runs f(0) to f(n-1), MaxParallel at a time, and returns their errors. It
// begins no further one after the first error.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	var mu sync.Mutex
	var next int
	var errs []error
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= n && len(errs) == 0
	}
	var wg sync.WaitGroup
	for range min(n, MaxParallel) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := f(ctx, i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func checkInstrument(inst exchange.InstrumentID) error {
	if inst < 1 || inst > exchange.MaxID {
		return fmt.Errorf("%w: instrument %d, expected 1 to %d", pipeline.ErrInvalid, inst, exchange.MaxID)
	}
	return nil
}
