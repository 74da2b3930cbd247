// Package config is what the functions on AWS are told from outside: which
// functions there are, the environment variables of each (Vars is the one list
// of them; the README and Terraform are compared with it), and the instruments.
package config

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
)

// Bounds of a variable.
const (
	MaxValue  = 4096 // bytes
	MaxShards = 64   // entries of a list
)

// Config is what a function was told. A field that its function does not have
// is zero.
type Config struct {
	Function    string
	Instruments []*exchange.Instrument

	LogLevel   slog.Level
	Namespace  string
	Journal    string // tables
	Balances   string
	Sessions   string
	Archive    string // bucket
	Redis      string // URL
	Database   string // URL
	Reader     string // URL
	Bus        string
	Commands   []string // queue URLs, by shard
	Topics     []string // ARNs, by shard
	MarketData []string // queue URLs, by shard
	Push       string   // queue URL
	WebSocket  string   // URL of the management API
	Risk       string   // function
	TokenKey   string
	DayEnd     exchange.Time
}

// Var is an environment variable.
type Var struct {
	Name    string
	Means   string
	Default string // "": it is mandatory, unless Optional
	// Optional says that it may be absent, and then means nothing.
	Optional bool
	set      func(c *Config, text string) error
}

// Vars are all the variables. Those that begin with AWS_ are the SDK's own, and
// Lambda's.
var Vars = []Var{
	{Name: "LOG_LEVEL", Means: "`DEBUG`, `INFO`, `WARN` or `ERROR`", Default: "INFO", set: func(c *Config, s string) error {
		return expected(c.LogLevel.UnmarshalText([]byte(s)) == nil, "DEBUG, INFO, WARN or ERROR")
	}},
	{Name: "METRICS_NAMESPACE", Means: "CloudWatch namespace of the metrics", Default: "Exchange", set: matching(func(c *Config) *string { return &c.Namespace }, `[A-Za-z0-9._/#-]{1,255}`, "1 to 255 letters, digits and ._/#-")},
	{Name: "JOURNAL_TABLE", Means: "DynamoDB table of the journal", set: table(func(c *Config) *string { return &c.Journal })},
	{Name: "BALANCES_TABLE", Means: "DynamoDB table of the balances", set: table(func(c *Config) *string { return &c.Balances })},
	{Name: "CONNECTIONS_TABLE", Means: "DynamoDB table of WebSocket connections", set: table(func(c *Config) *string { return &c.Sessions })},
	{Name: "ARCHIVE_BUCKET", Means: "S3 bucket of the archive and of large snapshots", set: matching(func(c *Config) *string { return &c.Archive }, `[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]`, "the name of a bucket")},
	{Name: "REDIS_URL", Means: "`rediss://user:password@host:port`, or `redis://` without TLS; the address of a cluster is its configuration endpoint", set: address(func(c *Config) *string { return &c.Redis }, "redis", "rediss")},
	{Name: "DATABASE_URL", Means: "`postgres://` of the writer", set: address(func(c *Config) *string { return &c.Database }, "postgres", "postgresql")},
	{Name: "DATABASE_READER_URL", Means: "`postgres://` of the readers; absent: the writer", Optional: true, set: address(func(c *Config) *string { return &c.Reader }, "postgres", "postgresql")},
	{Name: "EVENT_BUS", Means: "EventBridge bus of requests", set: matching(func(c *Config) *string { return &c.Bus }, `[A-Za-z0-9._/:-]{1,256}`, "the name or ARN of a bus")},
	{Name: "COMMAND_QUEUES", Means: "URLs of the FIFO queues of commands, by shard, separated by commas", set: queues(func(c *Config) *[]string { return &c.Commands })},
	{Name: "EVENTS_TOPICS", Means: "ARNs of the FIFO topics of committed events, by shard, separated by commas", set: list(func(c *Config) *[]string { return &c.Topics }, func(s string) error {
		return expected(topicARN.MatchString(s), "the ARN of a FIFO topic, arn:aws:sns:REGION:ACCOUNT:NAME.fifo")
	})},
	{Name: "MARKET_DATA_QUEUES", Means: "URLs of market-data's FIFO queues, by shard", set: queues(func(c *Config) *[]string { return &c.MarketData })},
	{Name: "PUSH_QUEUE", Means: "URL of push's FIFO queue", set: func(c *Config, s string) error { c.Push = s; return queueURL(s) }},
	{Name: "WEBSOCKET_ENDPOINT", Means: "URL of the WebSocket API's management, `https://ID.execute-api.REGION.amazonaws.com/STAGE`", set: address(func(c *Config) *string { return &c.WebSocket }, "https", "http")},
	{Name: "RISK_FUNCTION", Means: "function that checks risk; absent: the order processor does, and then needs what risk-checker needs", Optional: true, set: matching(func(c *Config) *string { return &c.Risk }, `[A-Za-z0-9:_-]{1,170}`, "the name or ARN of a function")},
	{Name: "TOKEN_PUBLIC_KEY", Means: "Ed25519 key that tokens are checked with, base64; no secret", set: func(c *Config, s string) error {
		c.TokenKey = s
		_, err := auth.NewVerifier(s, time.Now)
		return err
	}},
	{Name: "DAY_END", Means: "when a trading day ends, a duration after 00:00 UTC below 24h", Default: "0s", set: func(c *Config, s string) error {
		d, err := time.ParseDuration(s)
		c.DayEnd = exchange.Time(d)
		return expected(err == nil && d >= 0 && d < 24*time.Hour, "a duration of 0s up to 24h, such as 21h30m")
	}},
}

// Function is one of the functions.
type Function struct {
	Name    string
	Trigger string // what invokes it
	Vars    []string
}

// common are the variables of every function.
var common = []string{"LOG_LEVEL", "METRICS_NAMESPACE"}

// risk is what whoever checks risk needs.
var risk = []string{"BALANCES_TABLE", "COMMAND_QUEUES", "DATABASE_URL", "REDIS_URL"}

// Functions are the functions, in the order in which an order meets them.
var Functions = []Function{
	{"authorizer", "API Gateway, before a REST request and before $connect", []string{"TOKEN_PUBLIC_KEY"}},
	{"api", "API Gateway, REST", []string{"EVENT_BUS", "JOURNAL_TABLE", "BALANCES_TABLE", "DATABASE_URL", "DATABASE_READER_URL", "REDIS_URL"}},
	{"order-processor", "SQS queue of the EventBridge rule, or the rule itself", append([]string{"RISK_FUNCTION"}, risk...)},
	{"risk-checker", "order-processor", risk},
	{"matching-engine", "SQS FIFO, one queue and one function a shard", []string{"JOURNAL_TABLE", "ARCHIVE_BUCKET", "REDIS_URL", "EVENTS_TOPICS", "DAY_END"}},
	{"market-data", "SQS FIFO, from SNS and from websocket", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "DATABASE_URL", "REDIS_URL", "PUSH_QUEUE"}},
	{"trade-recorder", "SQS FIFO, from SNS", []string{"JOURNAL_TABLE", "DATABASE_URL", "ARCHIVE_BUCKET"}},
	{"settler", "SQS FIFO, from SNS", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "PUSH_QUEUE"}},
	{"sweeper", "EventBridge Scheduler", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "ARCHIVE_BUCKET", "DATABASE_URL", "COMMAND_QUEUES", "EVENTS_TOPICS"}},
	{"websocket", "API Gateway, WebSocket", []string{"CONNECTIONS_TABLE", "MARKET_DATA_QUEUES", "TOKEN_PUBLIC_KEY"}},
	{"push", "SQS FIFO, and EventBridge Scheduler for heartbeats", []string{"CONNECTIONS_TABLE", "WEBSOCKET_ENDPOINT"}},
}

// VarsOf returns the variables of a function, nil when there is none of that
// name.
func VarsOf(function string) []Var {
	i := slices.IndexFunc(Functions, func(f Function) bool { return f.Name == function })
	if i < 0 {
		return nil
	}
	var out []Var
	for _, name := range slices.Concat(common, Functions[i].Vars) {
		at := slices.IndexFunc(Vars, func(v Var) bool { return v.Name == name })
		if at < 0 {
			panic("config: " + function + " has the unknown variable " + name)
		}
		out = append(out, Vars[at])
	}
	return out
}

// Load reads a function's variables. The error names everything that is wrong
// with them, and repeats no value: some are secret.
func Load(function string, getenv func(string) string) (*Config, error) {
	vars := VarsOf(function)
	if vars == nil {
		return nil, fmt.Errorf("configuration: there is no function %q", function)
	}
	c := &Config{Function: function}
	var wrong []error
	// Whoever has others check risk has no use for what checking it needs.
	delegates := function == "order-processor" && getenv("RISK_FUNCTION") != ""
	for i := range vars {
		v := &vars[i]
		text := getenv(v.Name)
		switch {
		case text == "" && (v.Optional || delegates && slices.Contains(risk, v.Name)):
			continue
		case text == "" && v.Default == "":
			wrong = append(wrong, fmt.Errorf("%s is missing: %s", v.Name, v.Means))
			continue
		case text == "":
			text = v.Default
		case len(text) > MaxValue:
			wrong = append(wrong, fmt.Errorf("%s: %d bytes, expected at most %d", v.Name, len(text), MaxValue))
			continue
		}
		if err := v.set(c, text); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", v.Name, err))
		}
	}
	var err error
	if c.Instruments, err = Instruments(); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("configuration of %s:\n%w", function, errors.Join(wrong...))
	}
	return c, nil
}

func expected(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New("expected " + what)
}

func matching(field func(*Config) *string, pattern, what string) func(*Config, string) error {
	re := regexp.MustCompile(`^` + pattern + `$`)
	return func(c *Config, s string) error {
		*field(c) = s
		return expected(re.MatchString(s), what)
	}
}

func table(field func(*Config) *string) func(*Config, string) error {
	return matching(field, `[A-Za-z0-9_.-]{3,255}`, "the name of a table: 3 to 255 letters, digits and _.-")
}

func address(field func(*Config) *string, schemes ...string) func(*Config, string) error {
	return func(c *Config, s string) error {
		*field(c) = s
		u, err := url.Parse(s)
		return expected(err == nil && slices.Contains(schemes, u.Scheme) && u.Host != "", strings.Join(schemes, "://HOST... or ")+"://HOST...")
	}
}

func queueURL(s string) error {
	u, err := url.Parse(s)
	return expected(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && strings.HasSuffix(u.Path, ".fifo"),
		"the URL of a FIFO queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.fifo")
}

var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,251}\.fifo$`)

func queues(field func(*Config) *[]string) func(*Config, string) error { return list(field, queueURL) }

func list(field func(*Config) *[]string, check func(string) error) func(*Config, string) error {
	return func(c *Config, s string) error {
		parts := strings.Split(s, ",")
		if len(parts) > MaxShards {
			return fmt.Errorf("%d entries, expected at most %d", len(parts), MaxShards)
		}
		for i, part := range parts {
			if err := check(part); err != nil {
				return fmt.Errorf("entry %d: %w", i+1, err)
			}
		}
		*field(c) = parts
		return nil
	}
}

//go:embed instruments.json
var instruments []byte

// Instruments returns what is traded: instruments.json, which is part of every
// function, as all of them must agree on it. It is part of the data, too: an
// instrument that has traded keeps its ID, assets, tick and lot.
func Instruments() ([]*exchange.Instrument, error) { return parseInstruments(instruments) }

func parseInstruments(data []byte) ([]*exchange.Instrument, error) {
	var specs []exchange.InstrumentSpec
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&specs); err != nil {
		return nil, fmt.Errorf("instruments.json: %w", err)
	}
	if len(specs) == 0 {
		return nil, errors.New("instruments.json: expected at least one instrument")
	}
	var out []*exchange.Instrument
	assets := map[exchange.AssetID]exchange.Asset{}
	for i, spec := range specs {
		in, err := exchange.NewInstrument(spec)
		if err != nil {
			return nil, fmt.Errorf("instruments.json: instrument %d (%s): %w", i+1, spec.Symbol, err)
		}
		for _, have := range out {
			if have.ID() == in.ID() || have.Symbol() == in.Symbol() {
				return nil, fmt.Errorf("instruments.json: instrument %d (%s): its ID or Symbol is that of %s", i+1, spec.Symbol, have.Symbol())
			}
		}
		for _, a := range []exchange.Asset{spec.Base, spec.Quote} {
			if have, ok := assets[a.ID]; ok && have != a {
				return nil, fmt.Errorf("instruments.json: instrument %d (%s): asset %d is %s with %d decimals here, and %s with %d elsewhere", i+1, spec.Symbol, a.ID, a.Code, a.Scale, have.Code, have.Scale)
			}
			assets[a.ID] = a
		}
		out = append(out, in)
	}
	return out, nil
}
