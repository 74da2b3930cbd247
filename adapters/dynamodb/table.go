package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
)

// What the tables are called inside. Whoever creates them, Terraform for
// instance, must use these names; all three keys are strings.
const (
	PartitionKey = "pk" // of both tables
	SortKey      = "sk" // of both tables
	// PlacedIndex is a local secondary index of the balances' table, on
	// PartitionKey and PlacedKey, which projects all attributes.
	PlacedIndex = "placed"
	PlacedKey   = "placed"
	// TTLAttribute is the time to live of the balances' table, in seconds since
	// 1970. The journal's table has none.
	TTLAttribute = "ttl"
)

func keySchema(sort string) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: aws.String(PartitionKey), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(sort), KeyType: types.KeyTypeRange},
	}
}

func attributes(names ...string) (out []types.AttributeDefinition) {
	for _, name := range names {
		out = append(out, types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS})
	}
	return out
}

// JournalTable returns the definition of a Journal's table.
func JournalTable(name string) *ddb.CreateTableInput {
	return &ddb.CreateTableInput{
		TableName:            aws.String(name),
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            keySchema(SortKey),
		AttributeDefinitions: attributes(PartitionKey, SortKey),
	}
}

// BalancesTable returns the definition of a Balances' table, which further
// needs its time to live switched on (TTLAttribute).
func BalancesTable(name string) *ddb.CreateTableInput {
	in := JournalTable(name)
	in.AttributeDefinitions = attributes(PartitionKey, SortKey, PlacedKey)
	in.LocalSecondaryIndexes = []types.LocalSecondaryIndex{{
		IndexName:  aws.String(PlacedIndex),
		KeySchema:  keySchema(PlacedKey),
		Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
	}}
	return in
}

// createWait is how long CreateTables waits for one table.
const createWait = 2 * time.Minute

// CreateTables creates the two tables, pays for them by request, and returns
// when they can be used. One that is there is left as it is. An empty name
// leaves a table out. It is for a local venue and for tests.
func CreateTables(ctx context.Context, client *ddb.Client, journal, balances string) error {
	if journal != "" {
		if err := createTable(ctx, client, JournalTable(journal)); err != nil {
			return err
		}
	}
	if balances == "" {
		return nil
	}
	if err := createTable(ctx, client, BalancesTable(balances)); err != nil {
		return err
	}
	ttl, err := client.DescribeTimeToLive(ctx, &ddb.DescribeTimeToLiveInput{TableName: aws.String(balances)})
	if err != nil {
		return fmt.Errorf("time to live of table %s: %w", balances, err)
	}
	if s := ttl.TimeToLiveDescription.TimeToLiveStatus; s == types.TimeToLiveStatusEnabled || s == types.TimeToLiveStatusEnabling {
		return nil
	}
	_, err = client.UpdateTimeToLive(ctx, &ddb.UpdateTimeToLiveInput{TableName: aws.String(balances),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(TTLAttribute), Enabled: aws.Bool(true)}})
	if err != nil {
		return fmt.Errorf("time to live of table %s: %w", balances, err)
	}
	return nil
}

func createTable(ctx context.Context, client *ddb.Client, in *ddb.CreateTableInput) error {
	_, err := client.CreateTable(ctx, in)
	var there *types.ResourceInUseException
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("creating table %s: %w", *in.TableName, err)
	}
	err = ddb.NewTableExistsWaiter(client, func(o *ddb.TableExistsWaiterOptions) { o.MinDelay = 20 * time.Millisecond }).
		Wait(ctx, &ddb.DescribeTableInput{TableName: in.TableName}, createWait)
	if err != nil {
		return fmt.Errorf("waiting for table %s: %w", *in.TableName, err)
	}
	return nil
}

// The keys. Numbers are decimal and padded where they must sort. They are part
// of the format.

type key struct{ partition, sort string }

func (k key) item() item {
	return item{PartitionKey: str(k.partition), SortKey: str(k.sort)}
}

// String names the kind of item alone: numbers of accounts stay out of errors,
// which are logged.
func (k key) String() string {
	kind, _, _ := strings.Cut(k.partition, "#")
	return kind
}

func journalKey(inst exchange.InstrumentID, sort string) key {
	return key{fmt.Sprintf("journal#%d", inst), sort}
}

func padded[T ~uint64](n T) string { return fmt.Sprintf("%020d", uint64(n)) }

// paddedTime sorts as times do, those before 1970 included.
func paddedTime(t exchange.Time) string { return padded(uint64(t) ^ 1<<63) }

func hexID(id *exchange.CommandID) string { return fmt.Sprintf("%x", id[:]) }

func accountKey(id exchange.AccountID) key { return key{fmt.Sprintf("account#%d", id), "account"} }

func transferKey(id *exchange.CommandID) key { return key{"transfer#" + hexID(id), "transfer"} }

func totalKey(asset exchange.AssetID) key { return key{fmt.Sprintf("total#%d", asset), "total"} }

func venueKey(inst exchange.InstrumentID) key { return key{fmt.Sprintf("venue#%d", inst), "venue"} }

func spanKey(id *exchange.CommandID) key { return key{"span#" + hexID(id), "span"} }

const spanningPartition = "spanning"

// spanningKey is where a command lies that waits to be sent.
func spanningKey(serial uint64) key { return key{spanningPartition, padded(serial)} }

var spanningCounterKey = key{spanningPartition, "counter"} // behind all digits

// holdBuckets is over how many partitions holds are spread: each takes 1,000
// write units a second and 10 GB, and Placed asks all of them.
const holdBuckets = 64

func holdPartition(bucket int) string { return fmt.Sprintf("hold#%02d", bucket) }

func holdKey(acct exchange.AccountID, id *exchange.CommandID) key {
	// FNV-1a, written out because it is part of the format.
	h := uint32(2166136261)
	for _, b := range id {
		h = (h ^ uint32(b)) * 16777619
	}
	for n, i := uint64(acct), 0; i < 8; i++ {
		h = (h ^ uint32(n>>(8*i)&0xff)) * 16777619
	}
	return key{holdPartition(int((h ^ h>>16) % holdBuckets)), hexID(id) + "#" + padded(acct)}
}

// placedKey sorts holds by age. All are of one length, so that what is appended
// to one sorts right behind it.
func placedKey(t exchange.Time, acct exchange.AccountID, id *exchange.CommandID) string {
	return paddedTime(t) + "#" + hexID(id) + "#" + padded(acct)
}
