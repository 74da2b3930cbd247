package apigateway

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/castlecloud/exchange"
	joining "github.com/castlecloud/exchange/adapters/internal/join"
	"github.com/castlecloud/exchange/pipeline"
)

// How a DynamoTable lies in DynamoDB: keys pk and sk, both texts.
//
//	pk           sk          what
//	c#SHARD      CONNECTION  a connection: account, expires, topics, version, ttl
//	t#TOPIC      CONNECTION  a subscription: expires, ttl
//	v#TOPIC      v           counts who has come, left or stayed longer: n, ttl
//	p#INSTRUMENT p           how far it is pushed: position
//
// A topic's version rises after a subscription has changed and before anybody
// is told so. It is no part of that transaction: everybody changes it, and
// transactions would meet there, where additions do not.
//
// A connection is in one of tableShards by the hash of its id, so that many may
// come at a time and Connections still finds them without a scan. Times are ns
// since 1970, but for ttl, which is seconds, as DynamoDB wants it.
const (
	tableShards = 16
	// ConnectionLife is after how long DynamoDB may remove what is left of a
	// connection: API Gateway ends each after two hours.
	ConnectionLife = 3 * time.Hour
	// tableTries is how often a change is tried when others change the same
	// connection.
	tableTries = 10
	// tableGet is how many items one request reads.
	tableGet = 100
	// tableParallel is how many requests of one call are on their way at once.
	tableParallel = 16
	// versionsJoined is how many calls of Versions are read together at most,
	// and versionsBatches how many such readings are under way; none takes
	// longer than versionsPatience.
	versionsJoined   = 16
	versionsBatches  = 4
	versionsPatience = 10 * time.Second
	// readPages bounds the pages of one Subscribers, each of up to 1 MB.
	readPages = 1000
)

// DynamoTable is a Table in DynamoDB. Reads are consistent; a connection and its
// subscriptions change in one transaction. Make it with NewDynamoTable.
type DynamoTable struct {
	client *dynamodb.Client
	name   string
	now    func() time.Time
	asked  *joining.Batcher[*versionsAsked]
}

// NewDynamoTable returns the Table in a DynamoDB table with the string keys pk
// (hash) and sk (range) and the time to live in "ttl".
func NewDynamoTable(client *dynamodb.Client, name string) *DynamoTable {
	d := &DynamoTable{client: client, name: name, now: time.Now}
	d.asked = joining.New(versionsJoined, versionsBatches, d.versionsOf)
	return d
}

// TTLAttribute is the time to live of the table, in seconds since 1970.
const TTLAttribute = "ttl"

// TableDefinition returns the definition of a DynamoTable's table, which further
// needs its time to live switched on (TTLAttribute). Whoever creates it another
// way, Terraform for instance, must use its names.
func TableDefinition(name string) *dynamodb.CreateTableInput {
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kind}
	}
	attr := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	return &dynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{key("pk", types.KeyTypeHash), key("sk", types.KeyTypeRange)},
		AttributeDefinitions: []types.AttributeDefinition{attr("pk"), attr("sk")},
	}
}

// Create makes the table in DynamoDB, paid by request, and waits until it is
// there; one that is there stays as it is. The time to live is to be switched on
// apart, where there is one.
func (d *DynamoTable) Create(ctx context.Context) error {
	_, err := d.client.CreateTable(ctx, TableDefinition(d.name))
	var there *types.ResourceInUseException
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("creating the table of connections: %w", err)
	}
	err = dynamodb.NewTableExistsWaiter(d.client).Wait(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(d.name)}, time.Minute)
	if err != nil {
		return fmt.Errorf("creating the table of connections: %w", err)
	}
	return nil
}

type attributes = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number[T ~int64 | ~uint64 | ~uint32](n T) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

func textOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func numberOf(v types.AttributeValue) uint64 {
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	u, _ := strconv.ParseUint(n.Value, 10, 64) // we wrote it
	return u
}

func key(pk, sk string) attributes { return attributes{"pk": text(pk), "sk": text(sk)} }

func shardOf(id string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int(h.Sum32() % tableShards)
}

func connectionKey(id string) attributes { return key(fmt.Sprintf("c#%02d", shardOf(id)), id) }

func topicKey(t Topic, id string) attributes { return key("t#"+t.String(), id) }

func timeOf(v types.AttributeValue) time.Time {
	if n := numberOf(v); n != 0 {
		return time.Unix(0, int64(n))
	}
	return time.Time{}
}

func nanos(t time.Time) types.AttributeValue {
	if t.IsZero() {
		return number(int64(0))
	}
	return number(t.UnixNano())
}

func (d *DynamoTable) ttl() types.AttributeValue { return number(d.now().Add(ConnectionLife).Unix()) }

func (d *DynamoTable) item(c *Connection, version uint64) attributes {
	topics := make([]string, len(c.Topics))
	for i, t := range c.Topics {
		topics[i] = t.String()
	}
	item := connectionKey(c.ID)
	item["account"], item["expires"] = number(c.Account), nanos(c.Expires)
	item["topics"], item["version"], item[TTLAttribute] = text(strings.Join(topics, " ")), number(version), d.ttl()
	return item
}

func connectionOf(item attributes) (Connection, uint64, error) {
	c := Connection{ID: textOf(item["sk"]), Identity: Identity{exchange.AccountID(numberOf(item["account"])), timeOf(item["expires"])}}
	for _, s := range strings.Fields(textOf(item["topics"])) {
		t, err := ParseTopic(s)
		if err != nil {
			return Connection{}, 0, err
		}
		c.Topics = append(c.Topics, t)
	}
	return c, numberOf(item["version"]), nil
}

// Connect implements Table.
func (d *DynamoTable) Connect(ctx context.Context, id string, who Identity) error {
	if err := checkConnectionID(id); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	_, err := d.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(d.name), Item: d.item(&Connection{ID: id, Identity: who}, 1),
		ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	var there *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("connecting: %w", err)
	}
	return nil
}

func (d *DynamoTable) load(ctx context.Context, id string) (Connection, uint64, error) {
	if err := checkConnectionID(id); err != nil {
		return Connection{}, 0, err
	}
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(d.name), Key: connectionKey(id), ConsistentRead: aws.Bool(true)})
	switch {
	case err != nil:
		return Connection{}, 0, err
	case out.Item == nil:
		return Connection{}, 0, pipeline.ErrNotFound
	}
	return connectionOf(out.Item)
}

// change changes a connection, and its subscriptions with it, in one
// transaction. f changes what it is given; false: the connection goes.
func (d *DynamoTable) change(ctx context.Context, id string, f func(c *Connection) (keep bool, err error)) error {
	table := aws.String(d.name)
	for try := 1; ; try++ {
		old, version, err := d.load(ctx, id)
		if err != nil {
			return err
		}
		c := old
		c.Topics = slices.Clone(old.Topics)
		keep, err := f(&c)
		if err != nil {
			return err
		}
		same := attributes{":version": number(version)}
		condition := aws.String("version = :version")
		var items []types.TransactWriteItem
		if keep {
			items = append(items, types.TransactWriteItem{Put: &types.Put{TableName: table, Item: d.item(&c, version+1), ConditionExpression: condition, ExpressionAttributeValues: same}})
		} else {
			c.Topics = nil
			items = append(items, types.TransactWriteItem{Delete: &types.Delete{TableName: table, Key: connectionKey(id), ConditionExpression: condition, ExpressionAttributeValues: same}})
		}
		for _, t := range c.Topics {
			if !slices.Contains(old.Topics, t) || !c.expiry(t).Equal(old.expiry(t)) {
				item := topicKey(t, id)
				item["expires"], item[TTLAttribute] = nanos(c.expiry(t)), d.ttl()
				items = append(items, types.TransactWriteItem{Put: &types.Put{TableName: table, Item: item}})
			}
		}
		for _, t := range old.Topics {
			if !slices.Contains(c.Topics, t) {
				items = append(items, types.TransactWriteItem{Delete: &types.Delete{TableName: table, Key: topicKey(t, id)}})
			}
		}
		_, err = d.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
		var canceled *types.TransactionCanceledException
		if err == nil || !errors.As(err, &canceled) || try == tableTries {
			return err
		}
		// Somebody else was faster: what is there now counts.
	}
}

// Identify implements Table.
func (d *DynamoTable) Identify(ctx context.Context, id string, who Identity) error {
	var private []Topic
	err := d.change(ctx, id, func(c *Connection) (bool, error) {
		if c.Account != 0 && c.Account != who.Account {
			return false, pipeline.ErrConflict
		}
		c.Identity = who
		private = slices.DeleteFunc(slices.Clone(c.Topics), func(t Topic) bool { return !t.Channel.Private() })
		return true, nil
	})
	if err == nil {
		err = d.changed(ctx, private)
	}
	if err != nil {
		return fmt.Errorf("identifying a connection: %w", err)
	}
	return nil
}

// Subscribe implements Table.
func (d *DynamoTable) Subscribe(ctx context.Context, id string, topics []Topic, limit int) error {
	err := d.change(ctx, id, func(c *Connection) (bool, error) {
		all, err := checkTopics(c, topics, limit)
		c.Topics = all
		return true, err
	})
	if err == nil { // also of those that were there: their version may not be, yet
		err = d.changed(ctx, topics)
	}
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return nil
}

// Unsubscribe implements Table.
func (d *DynamoTable) Unsubscribe(ctx context.Context, id string, topics []Topic) (int, error) {
	n := 0
	err := d.change(ctx, id, func(c *Connection) (bool, error) {
		before := len(c.Topics)
		c.Topics = slices.DeleteFunc(c.Topics, func(t Topic) bool { return slices.Contains(topics, t) })
		n = before - len(c.Topics)
		return true, nil
	})
	if err == nil {
		err = d.changed(ctx, topics)
	}
	if errors.Is(err, pipeline.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("unsubscribing: %w", err)
	}
	return n, nil
}

// Remove implements Table.
func (d *DynamoTable) Remove(ctx context.Context, id string) error {
	err := d.change(ctx, id, func(*Connection) (bool, error) { return false, nil })
	if err != nil && !errors.Is(err, pipeline.ErrNotFound) {
		return fmt.Errorf("removing a connection: %w", err)
	}
	return nil
}

// Connection implements Table.
func (d *DynamoTable) Connection(ctx context.Context, id string) (Connection, error) {
	c, _, err := d.load(ctx, id)
	if err != nil {
		return Connection{}, fmt.Errorf("reading a connection: %w", err)
	}
	return c, nil
}

// Connections implements Table. They are in the order of their shards, in each
// by id.
func (d *DynamoTable) Connections(ctx context.Context, after string, limit int) ([]Connection, error) {
	if err := checkRows(limit); err != nil {
		return nil, fmt.Errorf("reading connections: %w", err)
	}
	first := 0
	if after != "" {
		first = shardOf(after)
	}
	var out []Connection
	for shard := first; shard < tableShards && len(out) < limit; shard++ {
		values, condition := attributes{":pk": text(fmt.Sprintf("c#%02d", shard))}, "pk = :pk"
		if after != "" && shard == first {
			values[":after"], condition = text(after), "pk = :pk AND sk > :after"
		}
		page, err := d.client.Query(ctx, &dynamodb.QueryInput{
			TableName: aws.String(d.name), KeyConditionExpression: aws.String(condition), ExpressionAttributeValues: values,
			ConsistentRead: aws.Bool(true), Limit: aws.Int32(int32(limit - len(out))),
		})
		if err != nil {
			return nil, fmt.Errorf("reading connections: %w", err)
		}
		for _, item := range page.Items {
			c, _, err := connectionOf(item)
			if err != nil {
				return nil, fmt.Errorf("reading connections: %w", err)
			}
			out = append(out, c)
		}
		if page.LastEvaluatedKey != nil { // there may be more of this shard
			break
		}
	}
	return out, nil
}

// Subscribers implements Table.
func (d *DynamoTable) Subscribers(ctx context.Context, topic Topic) ([]Subscriber, error) {
	var out []Subscriber
	pages := dynamodb.NewQueryPaginator(d.client, &dynamodb.QueryInput{
		TableName: aws.String(d.name), KeyConditionExpression: aws.String("pk = :pk"),
		ExpressionAttributeValues: attributes{":pk": text("t#" + topic.String())}, ConsistentRead: aws.Bool(true),
	})
	for n := 0; pages.HasMorePages(); n++ {
		if n == readPages {
			return nil, fmt.Errorf("reading subscribers: %w: more than %d pages", pipeline.ErrTooLarge, readPages)
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading subscribers: %w", err)
		}
		for _, item := range page.Items {
			out = append(out, Subscriber{textOf(item["sk"]), timeOf(item["expires"])})
		}
	}
	return out, nil
}

func versionKey(t Topic) attributes { return key("v#"+t.String(), "v") }

// changed raises the versions of topics.
func (d *DynamoTable) changed(ctx context.Context, topics []Topic) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(tableParallel)
	for _, t := range topics {
		group.Go(func() error {
			_, err := d.client.UpdateItem(gctx, &dynamodb.UpdateItemInput{
				TableName: aws.String(d.name), Key: versionKey(t), UpdateExpression: aws.String("SET #ttl = :ttl ADD n :one"),
				ExpressionAttributeNames: map[string]string{"#ttl": TTLAttribute}, ExpressionAttributeValues: attributes{":ttl": d.ttl(), ":one": number(int64(1))},
			})
			return err
		})
	}
	return group.Wait()
}

// Versions implements Table. What is asked at the same time is read together.
func (d *DynamoTable) Versions(ctx context.Context, topics []Topic) ([]uint64, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ask := &versionsAsked{topics: topics}
	if err := d.asked.Do(ctx, ask); err != nil {
		return nil, err
	}
	return ask.versions, nil
}

// versionsAsked is a call of Versions.
type versionsAsked struct {
	topics   []Topic
	versions []uint64
}

func (d *DynamoTable) versionsOf(ctx context.Context, asked []*versionsAsked) []error {
	ctx, cancel := context.WithTimeout(ctx, versionsPatience)
	defer cancel()
	var all []Topic
	for _, a := range asked {
		all = append(all, a.topics...)
	}
	versions, err := d.readVersions(ctx, all)
	if err != nil {
		return slices.Repeat([]error{err}, len(asked))
	}
	for _, a := range asked {
		a.versions, versions = versions[:len(a.topics):len(a.topics)], versions[len(a.topics):]
	}
	return make([]error, len(asked))
}

func (d *DynamoTable) readVersions(ctx context.Context, topics []Topic) ([]uint64, error) {
	found := map[string]uint64{} // by partition
	seen := map[Topic]bool{}
	var keys []attributes
	for _, t := range topics {
		if !seen[t] {
			seen[t] = true
			keys = append(keys, versionKey(t))
		}
	}
	for try := 0; len(keys) > 0; try++ {
		if try == tableTries+len(topics)/tableGet {
			return nil, fmt.Errorf("reading versions of topics: %d of %d are missing after %d requests", len(keys), len(topics), try)
		}
		n := min(len(keys), tableGet)
		got, err := d.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{d.name: {Keys: keys[:n], ConsistentRead: aws.Bool(true)}}})
		if err != nil {
			return nil, fmt.Errorf("reading versions of topics: %w", err)
		}
		for _, item := range got.Responses[d.name] {
			found[textOf(item["pk"])] = numberOf(item["n"])
		}
		keys = append(keys[n:], got.UnprocessedKeys[d.name].Keys...)
	}
	out := make([]uint64, len(topics))
	for i, t := range topics {
		out[i] = found["v#"+t.String()]
	}
	return out, nil
}

func pushedKey(inst exchange.InstrumentID) attributes { return key(fmt.Sprintf("p#%d", inst), "p") }

// Pushed implements Table.
func (d *DynamoTable) Pushed(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	out, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(d.name), Key: pushedKey(inst), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return 0, fmt.Errorf("reading how far it is pushed: %w", err)
	}
	return pipeline.Position(numberOf(out.Item["position"])), nil
}

// SetPushed implements Table.
func (d *DynamoTable) SetPushed(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	_, err := d.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(d.name), Key: pushedKey(inst),
		UpdateExpression: aws.String("SET #p = :p"), ConditionExpression: aws.String("attribute_not_exists(#p) OR #p < :p"),
		ExpressionAttributeNames: map[string]string{"#p": "position"}, ExpressionAttributeValues: attributes{":p": number(pos)},
	})
	var newer *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &newer) {
		return fmt.Errorf("keeping how far it is pushed: %w", err)
	}
	return nil
}
