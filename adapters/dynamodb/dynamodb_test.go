package dynamodb_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/adapters/standin/dynamo"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// One DynamoDB Local serves all tests, each with tables of its own; or the
// stand-in that is in this process.
var local struct {
	once   sync.Once
	server *standin.Server
	url    string
	err    error
	tables atomic.Int64
}

var ours = flag.Bool("dynamodb.ours", false, "test on package standin/dynamo instead of DynamoDB Local")

func TestMain(m *testing.M) {
	flag.Parse()
	// A step of the model takes milliseconds here.
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rapid.checks"] {
		_ = flag.Set("rapid.checks", "8")
	}
	dir, err := os.MkdirTemp("", "dynamodb-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	start = func() (string, error) {
		local.once.Do(func() {
			if *ours {
				local.url = httptest.NewServer(dynamo.New()).URL // until the process ends
			} else if local.server, local.err = standin.DynamoDB(context.Background(), dir); local.err == nil {
				local.url = local.server.URL()
			}
		})
		return local.url, local.err
	}
	code := m.Run()
	if local.server != nil {
		if err := local.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = os.RemoveAll(dir) // a log file of a stopped program
	os.Exit(code)
}

var start func() (url string, err error)

// newClient returns a client of DynamoDB Local, over w unless that is nil.
func newClient(t testing.TB, w *wire, more ...func(*ddb.Options)) *ddb.Client {
	t.Helper()
	url, err := start()
	if errors.Is(err, standin.ErrMissing) {
		exchangetest.Skip(t, exchangetest.Reason(err.Error()))
	}
	require.NoError(t, err)
	opts := ddb.Options{Region: "eu-central-1", BaseEndpoint: aws.String(url), HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")}
	if w != nil {
		opts.HTTPClient = &http.Client{Transport: w}
		opts.RetryMaxAttempts = 1 // what the package makes of it, not the client
	}
	return ddb.New(opts, more...)
}

var transport = &http.Transport{MaxIdleConnsPerHost: 4 * dynamodb.MaxParallel}

// newTables makes the two tables.
func newTables(t testing.TB) (journal, balances string) {
	t.Helper()
	c, n := newClient(t, nil), local.tables.Add(1)
	journal, balances = fmt.Sprintf("journal-%d", n), fmt.Sprintf("balances-%d", n)
	require.NoError(t, dynamodb.CreateTables(t.Context(), c, journal, balances))
	return journal, balances
}

func newJournal(t testing.TB, table string, w *wire) *dynamodb.Journal {
	t.Helper()
	j, err := dynamodb.NewJournal(newClient(t, w), dynamodb.JournalConfig{Table: table})
	require.NoError(t, err)
	return j
}

// epoch is when the suites play: the times they give are small.
func epoch() time.Time { return time.Unix(0, 0) }

func newBalances(t testing.TB, table string, w *wire) *dynamodb.Balances {
	t.Helper()
	b, err := dynamodb.NewBalances(newClient(t, w), dynamodb.BalancesConfig{Table: table, Now: epoch})
	require.NoError(t, err)
	return b
}

func journals() exchangetest.Durable[pipeline.Journal] {
	var table string
	return exchangetest.Durable[pipeline.Journal]{
		Open: func(t testing.TB) pipeline.Journal {
			table, _ = newTables(t)
			return newJournal(t, table, nil)
		},
		Reopen: func(t testing.TB, _ pipeline.Journal) pipeline.Journal { return newJournal(t, table, nil) },
	}
}

func balances() exchangetest.Durable[pipeline.Balances] {
	var table string
	return exchangetest.Durable[pipeline.Balances]{
		Open: func(t testing.TB) pipeline.Balances {
			_, table = newTables(t)
			return newBalances(t, table, nil)
		},
		Reopen: func(t testing.TB, _ pipeline.Balances) pipeline.Balances { return newBalances(t, table, nil) },
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	exchangetest.TestJournal(t, journals().Open)
}

func TestDurableJournal(t *testing.T) {
	t.Parallel()
	exchangetest.TestDurableJournal(t, journals())
}

func TestBalances(t *testing.T) {
	t.Parallel()
	exchangetest.TestBalances(t, balances().Open)
}

func TestDurableBalances(t *testing.T) {
	t.Parallel()
	exchangetest.TestDurableBalances(t, balances())
}

// fault is what happens to a request.
type fault int

const (
	none      fault = iota
	unsent          // it never arrives
	lost            // it arrives, and nobody hears of it
	throttled       // it is refused, for now
	broken          // it arrives, and the answer says that something inside went wrong
)

// wire is a connection that has faults.
type wire struct {
	mu   sync.Mutex
	rule func(op string) fault // nil: none
	// What is sent, and what comes back, is changed by these; nil: it is not.
	request, answer func(op string, body []byte) []byte
}

// set gives the wire a rule: the n-th request of an operation, or of any when
// op is "", counted from 1, has a fault.
func (w *wire) set(op string, n int, f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rule = func(is string) fault {
		if op == "" || op == is {
			if n--; n == 0 {
				return f
			}
		}
		return none
	}
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	_, op, _ := strings.Cut(req.Header.Get("X-Amz-Target"), ".")
	w.mu.Lock()
	f := none
	if w.rule != nil {
		f = w.rule(op)
	}
	w.mu.Unlock()
	answer := func(status int, kind string) *http.Response {
		body := fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"a fault of the test"}`, kind)
		return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
			Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}}
	}
	switch f {
	case unsent:
		return nil, errors.New("connection refused by the test")
	case throttled:
		return answer(http.StatusBadRequest, "ThrottlingException"), nil
	}
	if w.request != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = w.request(op, body)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	resp, err := transport.RoundTrip(req)
	if err != nil || f == none && w.answer == nil {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if f == none {
		body = w.answer(op, body)
		resp.Header.Del("X-Amz-Crc32") // of what it was
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return resp, nil
	}
	if f == broken {
		return answer(http.StatusInternalServerError, "InternalServerError"), nil
	}
	return nil, io.ErrUnexpectedEOF
}

// all returns every item of a table.
func all(t testing.TB, table string) (out []map[string]types.AttributeValue) {
	t.Helper()
	pages := ddb.NewScanPaginator(newClient(t, nil), &ddb.ScanInput{TableName: aws.String(table), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		out = append(out, page.Items...)
	}
	return out
}

func text(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	}
	return ""
}

// count returns how many items of a table have a partition key that begins so.
func count(t testing.TB, table, prefix string) (n int) {
	t.Helper()
	for _, it := range all(t, table) {
		if strings.HasPrefix(text(it[dynamodb.PartitionKey]), prefix) {
			n++
		}
	}
	return n
}

func follow(at pipeline.Head, data []byte) pipeline.Item {
	return pipeline.Item{Head: pipeline.Head{Position: at.Position + 1, Hash: pipeline.HashOf(at.Hash, data)}, Data: data}
}

func filled(n int, with byte) []byte { return bytes.Repeat([]byte{with}, n) }

func TestConfigIsChecked(t *testing.T) {
	c := ddb.New(ddb.Options{Region: "eu-central-1"})
	for name, err := range map[string]error{
		"no client":                     second(dynamodb.NewJournal(nil, dynamodb.JournalConfig{Table: "t"})),
		"Table is empty":                second(dynamodb.NewJournal(c, dynamodb.JournalConfig{})),
		"no  client":                    second(dynamodb.NewBalances(nil, dynamodb.BalancesConfig{Table: "t"})),
		"Table  is empty":               second(dynamodb.NewBalances(c, dynamodb.BalancesConfig{})),
		"RememberHolds is 59m59s":       second(dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: "t", RememberHolds: dynamodb.MinRemember - time.Second})),
		"RememberTransfers is -1h0m0s,": second(dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: "t", RememberTransfers: -time.Hour})),
	} {
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, strings.ReplaceAll(name, "  ", " "))
	}
	_, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: "t", RememberHolds: dynamodb.MinRemember, RememberTransfers: dynamodb.MinRemember})
	require.NoError(t, err)
}

func second[T any](_ T, err error) error { return err }

// Tables that are there are left as they are.
func TestCreateTablesAgain(t *testing.T) {
	journal, balances := newTables(t)
	b := newBalances(t, balances, nil)
	require.NoError(t, b.Deposit(t.Context(), pipeline.Transfer{ID: id(1), Account: 1, Asset: 1, Amount: 5}))
	require.NoError(t, dynamodb.CreateTables(t.Context(), newClient(t, nil), journal, balances))
	a, err := b.Account(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, exchange.Amount(5), a.Balances[0].Available)
	ttl, err := newClient(t, nil).DescribeTimeToLive(t.Context(), &ddb.DescribeTimeToLiveInput{TableName: aws.String(balances)})
	require.NoError(t, err)
	require.Equal(t, types.TimeToLiveStatusEnabled, ttl.TimeToLiveDescription.TimeToLiveStatus)
	require.Equal(t, dynamodb.TTLAttribute, *ttl.TimeToLiveDescription.AttributeName)
	err = second(newJournal(t, "no-such-table", nil).Head(t.Context(), 1))
	var none *types.ResourceNotFoundException
	require.ErrorAs(t, err, &none, "a table that is not there is told at the first call")
}

func id(n int) exchange.CommandID { return exchangetest.IDOf(n) }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
