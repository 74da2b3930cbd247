package cloud

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
)

// LogDir is the directory, in Config.Dir, of what the functions print.
const LogDir = "logs"

// Timeouts and concurrency of the functions. What follows an instrument has one
// environment a shard, so that books and orders stay warm in one place; more
// would be safe, and slower.
const (
	functionTimeout  = 8 * time.Second
	apiConcurrency   = 8
	otherConcurrency = 8
	// queuePollers is how many batches of requests, and of messages for clients,
	// are worked on at a time.
	queuePollers   = 4
	heartbeatEvery = 30 * time.Second
)

// Environment returns the values that variables have here, and what the SDK is
// told.
func (c *Cloud) Environment(vars []config.Var) map[string]string {
	m := c.made
	dynamo := c.parts.dynamoURL
	if c.parts.proxyURL != "" {
		dynamo = c.parts.proxyURL
	}
	values := map[string]string{
		"LOG_LEVEL": "INFO", "METRICS_NAMESPACE": "Exchange", "JOURNAL_TABLE": journalTable, "BALANCES_TABLE": balancesTable, "CONNECTIONS_TABLE": connectionsTable,
		"ARCHIVE_BUCKET": archiveBucket, "REDIS_URL": c.parts.redis.URL(), "DATABASE_URL": c.parts.postgres.URL(), "EVENT_BUS": busName,
		"COMMAND_QUEUES": strings.Join(m.commands, ","), "EVENTS_TOPICS": strings.Join(m.topics, ","), "MARKET_DATA_QUEUES": strings.Join(m.marketData, ","),
		"PUSH_QUEUE":         m.push,
		"WEBSOCKET_ENDPOINT": c.parts.management, "TOKEN_PUBLIC_KEY": c.keys.PublicKey(),
		"REQUEST_QUEUE": m.requests, "RECORDER_QUEUES": strings.Join(m.recorder, ","), "SETTLER_QUEUES": strings.Join(m.settler, ","), "VISIBILITY": c.cfg.Visibility.String(),
	}
	if !c.cfg.RiskInProcess {
		values["RISK_FUNCTION"] = "risk-checker"
	}
	env := map[string]string{
		"AWS_REGION": region, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_DYNAMODB": dynamo, "AWS_ENDPOINT_URL_SQS": c.parts.fauxqs.URL(), "AWS_ENDPOINT_URL_SNS": c.parts.fauxqs.URL(),
		"AWS_ENDPOINT_URL_S3": c.parts.s3, "AWS_ENDPOINT_URL_EVENTBRIDGE": c.parts.events, "AWS_ENDPOINT_URL_LAMBDA": c.lambda.URL(),
		// As many as a function of up to 1,769 MB has; with more, dozens of
		// processes on a few cores mostly look for something to do.
		"GOMAXPROCS": "1",
	}
	for _, v := range vars {
		if value, ok := values[v.Name]; ok {
			env[v.Name] = value
		}
	}
	return env
}

// startFunctions adds the functions and what invokes them.
func (c *Cloud) startFunctions() error {
	m := c.made
	logs := filepath.Join(c.cfg.Dir, LogDir)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	resident := func(function string) bool { return slices.Contains(c.cfg.Resident, function) }
	add := func(name, function string, concurrency int) error {
		if resident(function) {
			return nil
		}
		output, err := os.OpenFile(filepath.Join(logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		c.outputs = append(c.outputs, output)
		env := c.Environment(config.VarsOf(function))
		env["AWS_SDK_UA_APP_ID"] = function // so that the proxy knows whose requests it sees
		return c.lambda.Add(lambda.Function{Name: name, Binary: filepath.Join(c.cfg.Binaries, function), Env: env,
			Concurrency: concurrency, Timeout: functionTimeout, Output: output})
	}
	queues := sqs.NewFromConfig(sdk(c.parts.fauxqs.URL()))
	for name, concurrency := range map[string]int{"authorizer": 4, "api": apiConcurrency, "order-processor": otherConcurrency, "risk-checker": otherConcurrency,
		"websocket": otherConcurrency, "push": otherConcurrency, "sweeper": 1} {
		if err := add(name, name, concurrency); err != nil {
			return err
		}
	}
	if !resident("order-processor") {
		if err := c.lambda.Map(queues, lambda.Mapping{Function: "order-processor", Queue: m.requests, Batch: lambda.MaxBatch, Pollers: queuePollers, HandOver: c.cfg.HandOver}); err != nil {
			return err
		}
	}
	if err := c.lambda.Map(queues, lambda.Mapping{Function: "push", Queue: m.push, Batch: lambda.MaxBatch, Pollers: queuePollers, HandOver: c.cfg.HandOver}); err != nil {
		return err
	}
	for shard := range c.cfg.Shards {
		for _, f := range []struct {
			function string
			queues   []string
			late     bool
		}{{"matching-engine", m.commands, false}, {"market-data", m.marketData, true}, {"trade-recorder", m.recorder, true}, {"settler", m.settler, true}} {
			if resident(f.function) {
				continue
			}
			name := ShardName(f.function, shard)
			if err := add(name, f.function, 1); err != nil {
				return err
			}
			mapping := lambda.Mapping{Function: name, Queue: f.queues[shard], Batch: lambda.MaxBatch, Pollers: 1, HandOver: c.cfg.HandOver}
			if f.late && c.cfg.Faults.Late != nil {
				mapping.Late = func() time.Duration { return c.cfg.Faults.Late(name) }
			}
			if f.function == "matching-engine" && c.cfg.Faults.Zombie {
				mapping.Shadow = ShardName("zombie", shard)
				if err := add(mapping.Shadow, f.function, 1); err != nil {
					return err
				}
			}
			if err := c.lambda.Map(queues, mapping); err != nil {
				return err
			}
		}
	}
	if !resident("sweeper") {
		c.schedule("sweeper", c.cfg.SweepEvery)
	}
	c.schedule("push", heartbeatEvery)
	return nil
}

// ShardName returns what a function that serves one shard is called.
func ShardName(function string, shard int) string { return fmt.Sprintf("%s-%03d", function, shard) }

// schedule invokes a function now and then, as EventBridge Scheduler does.
func (c *Cloud) schedule(function string, every time.Duration) {
	c.run(func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if _, err := c.lambda.Invoke(ctx, function, []byte(`{"source":"aws.scheduler"}`)); err != nil && ctx.Err() == nil {
				c.log.Warn("scheduled", "function", function, "error", err)
			}
		}
	})
}
