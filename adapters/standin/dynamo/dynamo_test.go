package dynamo_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/adapters/standin/dynamo"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given { // each asks two servers some sixty times
		_ = flag.Set("rapid.checks", "12")
	}
	os.Exit(m.Run())
}

func client(url string) *ddb.Client {
	return ddb.New(ddb.Options{Region: "eu-central-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
}

func ours(t testing.TB) *ddb.Client {
	server := httptest.NewServer(dynamo.New())
	t.Cleanup(server.Close)
	return client(server.URL)
}

// The suites of what is kept in DynamoDB, as they run on DynamoDB Local in the
// package of the adapter.
func TestSuites(t *testing.T) {
	t.Parallel()
	t.Run("journal", func(t *testing.T) {
		t.Parallel()
		exchangetest.TestJournal(t, func(t testing.TB) pipeline.Journal {
			c := ours(t)
			require.NoError(t, dynamodb.CreateTables(t.Context(), c, "journal", ""))
			j, err := dynamodb.NewJournal(c, dynamodb.JournalConfig{Table: "journal"})
			require.NoError(t, err)
			return j
		})
	})
	t.Run("balances", func(t *testing.T) {
		t.Parallel()
		exchangetest.TestBalances(t, func(t testing.TB) pipeline.Balances {
			c := ours(t)
			require.NoError(t, dynamodb.CreateTables(t.Context(), c, "", "balances"))
			b, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: "balances", Now: func() time.Time { return time.Unix(0, 0) }})
			require.NoError(t, err)
			return b
		})
	})
}

type item = map[string]types.AttributeValue

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v int) types.AttributeValue    { return &types.AttributeValueMemberN{Value: fmt.Sprint(v)} }

func key(t *rapid.T) item {
	return item{"pk": s(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pk")), "sk": s(rapid.SampledFrom([]string{"1", "2", "21", "3"}).Draw(t, "sk"))}
}

// conditions use :n, #x and the attributes n, x and m.
var conditions = []string{"", "attribute_not_exists(pk)", "attribute_exists(pk)", "n = :n", "n < :n AND attribute_exists(#x)", "attribute_not_exists(n) OR n >= :n",
	"(#x <> :n OR n > :n) AND NOT n <= :n", "n BETWEEN :n AND :n"}

var updates = []string{"SET n = :n", "ADD n :n", "SET m = :n ADD #x :n", "REMOVE n"}

// faults are what may be wrong with a change, at most one thing.
var faults = []string{"another table", "no sort key", "a name unused", "a value missing", "a name missing", "no such clause", "a key is changed", "what is not there"}

// names returns the placeholders that expressions use.
func names(t *rapid.T, fault string, expressions ...string) (named map[string]string, values item) {
	all := strings.Join(expressions, " ")
	if strings.Contains(all, "#x") || fault == "a name unused" {
		named = map[string]string{"#x": "x"}
	}
	if strings.Contains(all, ":n") {
		values = item{":n": n(rapid.IntRange(-2, 3).Draw(t, "n"))}
	}
	return named, values
}

func change(t *rapid.T, fault string) (w types.TransactWriteItem) {
	table, where := aws.String("table"), rapid.SampledFrom(conditions).Draw(t, "condition")
	set := rapid.SampledFrom(updates).Draw(t, "update")
	kind := rapid.IntRange(0, 3).Draw(t, "kind")
	switch fault {
	case "another table":
		table = aws.String("another")
	case "no sort key":
		kind = 0
	case "a name unused":
		kind, where, set = 1, "", "ADD n :n"
	case "a value missing":
		where = "n = :missing"
	case "a name missing":
		where = "attribute_exists(#missing)"
	case "no such clause":
		kind, where, set = 1, "", "FROB n :n"
	case "a key is changed":
		kind, where, set = 1, "", "SET sk = :n"
	case "what is not there":
		kind, where, set = 1, "", "SET n = missing"
	}
	var condition *string
	if where != "" {
		condition = &where
	}
	switch kind {
	case 0:
		it := key(t)
		// x is a number: an ADD to a text ends a transaction of DynamoDB Local
		// with an error of its own, where the stand-in gives a reason.
		it["n"], it["x"], it["s"], it["b"] = n(rapid.IntRange(-2, 3).Draw(t, "value")), n(7), s("text"), &types.AttributeValueMemberB{Value: []byte{1, 2, 3}}
		it["yes"] = &types.AttributeValueMemberBOOL{Value: true}
		if fault == "no sort key" {
			delete(it, "sk")
		}
		named, values := names(t, fault, where)
		w.Put = &types.Put{TableName: table, Item: it, ConditionExpression: condition, ExpressionAttributeNames: named, ExpressionAttributeValues: values}
	case 1:
		named, values := names(t, fault, where, set)
		w.Update = &types.Update{TableName: table, Key: key(t), UpdateExpression: &set, ConditionExpression: condition, ExpressionAttributeNames: named, ExpressionAttributeValues: values}
	case 2:
		named, values := names(t, fault, where)
		w.Delete = &types.Delete{TableName: table, Key: key(t), ConditionExpression: condition, ExpressionAttributeNames: named, ExpressionAttributeValues: values}
	case 3:
		if where == "" {
			where = "attribute_exists(pk)"
		}
		named, values := names(t, fault, where)
		w.ConditionCheck = &types.ConditionCheck{TableName: table, Key: key(t), ConditionExpression: &where, ExpressionAttributeNames: named, ExpressionAttributeValues: values}
	}
	return w
}

// said is what an answer comes to.
func said(out any, err error) string {
	var api smithy.APIError
	var canceled *types.TransactionCanceledException
	switch {
	case errors.As(err, &canceled):
		text := "canceled:"
		for _, r := range canceled.CancellationReasons {
			text += " " + aws.ToString(r.Code)
		}
		return text
	case errors.As(err, &api):
		return api.ErrorCode()
	case err != nil:
		return err.Error()
	}
	return fmt.Sprint(out)
}

// What one answers to requests of the kind that adapters make, the other
// answers too.
func TestAgreesWithDynamoDBLocal(t *testing.T) {
	t.Parallel()
	local := client(standin.ForTest(t, standin.DynamoDB).URL())
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		ctx, mine := context.Background(), ours(t)
		table := fmt.Sprint("table-", round)
		both := func(what string, ask func(c *ddb.Client) (any, error)) {
			want, err := ask(local)
			wanted := said(want, err)
			got, err := ask(mine)
			if found := said(got, err); found != wanted {
				rt.Fatalf("%s: %s, DynamoDB Local says %s (%v)", what, found, wanted, err)
			}
		}
		both("create", func(c *ddb.Client) (any, error) { return "made", dynamodb.CreateTables(ctx, c, "", table) })
		named := func(w types.TransactWriteItem) types.TransactWriteItem {
			if name := nameOf(&w); **name == "table" {
				*name = &table
			}
			return w
		}
		rt.Repeat(map[string]func(*rapid.T){
			"transact": func(rt *rapid.T) {
				var writes []types.TransactWriteItem
				seen := map[string]bool{} // with two of one item they differ in which error comes first
				for range rapid.IntRange(1, 3).Draw(rt, "items") {
					w := named(change(rt, ""))
					if at := keyOf(&w); !seen[at] {
						seen[at] = true
						writes = append(writes, w)
					}
				}
				both("transact", func(c *ddb.Client) (any, error) {
					_, err := c.TransactWriteItems(ctx, &ddb.TransactWriteItemsInput{TransactItems: writes})
					return nil, err
				})
			},
			"write": func(rt *rapid.T) {
				fault := ""
				if rapid.IntRange(0, 3).Draw(rt, "wrong") == 0 {
					fault = rapid.SampledFrom(faults).Draw(rt, "fault")
				}
				w := named(change(rt, fault))
				both("write", func(c *ddb.Client) (any, error) {
					switch {
					case w.Put != nil:
						p := w.Put
						out, err := c.PutItem(ctx, &ddb.PutItemInput{TableName: p.TableName, Item: p.Item, ConditionExpression: p.ConditionExpression,
							ExpressionAttributeNames: p.ExpressionAttributeNames, ExpressionAttributeValues: p.ExpressionAttributeValues, ReturnValues: types.ReturnValueAllOld})
						return plain(out, err, func() []item { return []item{out.Attributes} })
					case w.Update != nil:
						u := w.Update
						_, err := c.UpdateItem(ctx, &ddb.UpdateItemInput{TableName: u.TableName, Key: u.Key, UpdateExpression: u.UpdateExpression, ConditionExpression: u.ConditionExpression,
							ExpressionAttributeNames: u.ExpressionAttributeNames, ExpressionAttributeValues: u.ExpressionAttributeValues})
						return nil, err
					case w.Delete != nil:
						d := w.Delete
						_, err := c.DeleteItem(ctx, &ddb.DeleteItemInput{TableName: d.TableName, Key: d.Key, ConditionExpression: d.ConditionExpression,
							ExpressionAttributeNames: d.ExpressionAttributeNames, ExpressionAttributeValues: d.ExpressionAttributeValues})
						return nil, err
					}
					return nil, nil
				})
			},
			"query": func(rt *rapid.T) {
				from, to := rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(rt, "from"), rapid.SampledFrom([]string{"1", "21", "~"}).Draw(rt, "to")
				limit := int32(rapid.IntRange(1, 4).Draw(rt, "limit"))
				both("query", func(c *ddb.Client) (any, error) {
					in := &ddb.QueryInput{TableName: &table, Limit: &limit, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("#p = :p AND #s BETWEEN :from AND :to"),
						ExpressionAttributeNames: map[string]string{"#p": "pk", "#s": "sk"}, ExpressionAttributeValues: item{":p": s("a"), ":from": s(from), ":to": s(to)}}
					// Which page is the last they may say at once or with an empty one.
					var all []item
					for {
						out, err := c.Query(ctx, in)
						if err != nil {
							return nil, err
						}
						all = append(all, out.Items...)
						if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
							return plain(out, nil, func() []item { return all })
						}
					}
				})
			},
			"get": func(rt *rapid.T) {
				k := key(rt)
				both("get", func(c *ddb.Client) (any, error) {
					out, err := c.GetItem(ctx, &ddb.GetItemInput{TableName: &table, Key: k, ProjectionExpression: aws.String("pk,n,#x"), ExpressionAttributeNames: map[string]string{"#x": "x"}})
					return plain(out, err, func() []item { return []item{out.Item} })
				})
			},
		})
		for _, pk := range []string{"a", "b"} {
			both("all", func(c *ddb.Client) (any, error) {
				out, err := c.Query(ctx, &ddb.QueryInput{TableName: &table, KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: item{":p": s(pk)}})
				return plain(out, err, func() []item { return out.Items })
			})
		}
	})
}

// nameOf returns where a change names its table.
func nameOf(w *types.TransactWriteItem) **string {
	switch {
	case w.Put != nil:
		return &w.Put.TableName
	case w.Update != nil:
		return &w.Update.TableName
	case w.Delete != nil:
		return &w.Delete.TableName
	}
	return &w.ConditionCheck.TableName
}

// keyOf returns the key of a change as a text.
func keyOf(w *types.TransactWriteItem) string {
	k := item{}
	switch {
	case w.Put != nil:
		k = w.Put.Item
	case w.Update != nil:
		k = w.Update.Key
	case w.Delete != nil:
		k = w.Delete.Key
	case w.ConditionCheck != nil:
		k = w.ConditionCheck.Key
	}
	return k["pk"].(*types.AttributeValueMemberS).Value + " " + k["sk"].(*types.AttributeValueMemberS).Value
}

// plain makes texts of items, whose values are pointers.
func plain[T any](_ *T, err error, of func() []item) (any, error) {
	if err != nil {
		return nil, err
	}
	var out []map[string]string
	for _, it := range of() {
		one := map[string]string{}
		for name, v := range it {
			switch v := v.(type) {
			case *types.AttributeValueMemberS:
				one[name] = "S" + v.Value
			case *types.AttributeValueMemberN:
				one[name] = "N" + v.Value
			case *types.AttributeValueMemberB:
				one[name] = fmt.Sprintf("B%x", v.Value)
			case *types.AttributeValueMemberBOOL:
				one[name] = fmt.Sprint(v.Value)
			}
		}
		out = append(out, one)
	}
	return out, nil
}
