package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/plainbody"
	"github.com/castlecloud/exchange/pipeline"
)

// What things are called here. On AWS Terraform names them.
const (
	region           = "us-east-1"
	journalTable     = "journal"
	balancesTable    = "balances"
	connectionsTable = "connections"
	archiveBucket    = "archive"
	busName          = "requests"
)

// made is what was created.
type made struct {
	requests   string // queue URLs
	commands   []string
	topics     []string // ARNs
	marketData []string
	recorder   []string
	settler    []string
	push       string
}

// sdk returns settings for the clients of this process.
func sdk(endpoint string) aws.Config {
	return aws.Config{Region: region, BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient: plainbody.Client(awshttp.NewBuildableClient())}
}

// create creates queues, topics, tables, the bucket and the schema.
func (c *Cloud) create(ctx context.Context) (*made, error) {
	client := ddb.NewFromConfig(sdk(c.parts.dynamoURL))
	if err := dynamodb.CreateTables(ctx, client, journalTable, balancesTable); err != nil {
		return nil, err
	}
	if err := apigateway.NewDynamoTable(client, connectionsTable).Create(ctx); err != nil {
		return nil, err
	}
	if err := aurora.Migrate(ctx, c.parts.postgres.URL()); err != nil {
		return nil, err
	}
	m := &made{}
	err := c.createQueues(ctx, m)
	return m, err
}

func (c *Cloud) createQueues(ctx context.Context, m *made) error {
	queues, topics := sqs.NewFromConfig(sdk(c.parts.fauxqs.URL())), sns.NewFromConfig(sdk(c.parts.fauxqs.URL()))
	visibility := strconv.Itoa(int(c.cfg.Visibility / time.Second))
	queue := func(name string) (string, error) {
		attributes := map[string]string{"VisibilityTimeout": visibility}
		if strings.HasSuffix(name, ".fifo") {
			attributes["FifoQueue"] = "true"
		}
		out, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			return "", fmt.Errorf("creating queue %s: %w", name, err)
		}
		return *out.QueueUrl, nil
	}
	var err error
	if m.requests, err = queue("requests"); err != nil {
		return err
	}
	if m.push, err = queue("push.fifo"); err != nil {
		return err
	}
	for shard := range c.cfg.Shards {
		name := func(what string) string { return fmt.Sprintf("%s-%03d.fifo", what, shard) }
		topic, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String(name("events")), Attributes: map[string]string{"FifoTopic": "true"}})
		if err != nil {
			return fmt.Errorf("creating a topic: %w", err)
		}
		m.topics = append(m.topics, *topic.TopicArn)
		for _, q := range []struct {
			what       string
			into       *[]string
			subscribes bool
		}{{"commands", &m.commands, false}, {"market-data", &m.marketData, true}, {"trade-recorder", &m.recorder, true}, {"settler", &m.settler, true}} {
			url, err := queue(name(q.what))
			if err != nil {
				return err
			}
			*q.into = append(*q.into, url)
			if !q.subscribes {
				continue
			}
			if _, err := topics.Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("sqs"),
				Endpoint: aws.String("arn:aws:sqs:" + region + ":000000000000:" + name(q.what)), Attributes: map[string]string{"RawMessageDelivery": "true"}}); err != nil {
				return fmt.Errorf("subscribing %s to its topic: %w", q.what, err)
			}
		}
	}
	return nil
}

// startS3 starts the object store, in this process.
func (c *Cloud) startS3() error {
	backend := s3mem.New()
	if err := backend.CreateBucket(archiveBucket); err != nil {
		return fmt.Errorf("creating the bucket: %w", err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	c.parts.s3 = srv.URL
	c.closeLater(func() error { srv.Close(); return nil })
	return nil
}

// funds is what a demo account begins with of each asset, in whole units.
const (
	demoFunds = 1_000_000
	demoUSD   = 1_000_000_000
)

// endow gives the demo accounts what they begin with.
func (c *Cloud) endow(ctx context.Context, instruments []*exchange.Instrument) error {
	b, err := dynamodb.NewBalances(ddb.NewFromConfig(sdk(c.parts.dynamoURL)), dynamodb.BalancesConfig{Table: balancesTable})
	if err != nil {
		return err
	}
	now := exchange.Time(time.Now().UnixNano())
	for acct := range exchange.AccountID(c.cfg.DemoAccounts) {
		acct++
		for _, a := range pipeline.AssetsOf(instruments) {
			units := int64(demoFunds)
			if a.Code == "USD" {
				units = demoUSD
			}
			n, err := a.Amount(decimal.NewFromInt(units))
			if err != nil {
				return err
			}
			err = b.Deposit(ctx, pipeline.Transfer{ID: pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, "endowment "+a.Code), Account: acct, Asset: a.ID, Amount: n, Time: now})
			if err != nil && !errors.Is(err, exchange.StaleCommand) {
				return fmt.Errorf("giving account %d its first %s: %w", acct, a.Code, err)
			}
		}
	}
	return nil
}
