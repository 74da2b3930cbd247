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
	"strconv"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
)

// Bounds of a variable.
const (
	MaxValue  = 4096 // bytes
	MaxShards = 64   // entries of a list

	MaxVisibility = 12 * time.Hour // as SQS has it
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
	Archive    string   // bucket
	Redis      string   // URL
	Database   []string // URLs, by shard of accounts
	Reader     []string // URLs; none, or as many
	Bus        string
	Commands   []string // queue URLs, by shard
	Topics     []string // ARNs, by shard
	MarketData []string // queue URLs, by shard
	Push       string   // queue URL
	WebSocket  string   // URL of the management API
	Risk       string   // function
	TokenKey   string
	DayEnd     exchange.Time

	// Of a process that stays.
	Requests   string   // queue URL
	Recorder   []string // queue URLs, by shard
	Settler    []string // queue URLs, by shard
	Visibility time.Duration
	Engine     int // which of
	Engines    int // so many
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
	{Name: "REDIS_URL", Means: "`rediss://user:password@host:port`, or `redis://` without TLS; the address of a cluster is its configuration endpoint; with `?iam=NAME` the role signs in to the ElastiCache group of that name", set: address(func(c *Config) *string { return &c.Redis }, "redis", "rediss")},
	{Name: "DATABASE_URL", Means: "`postgres://` of the writer; several, separated by commas: accounts are spread over them, and their order stays; with `iam=true` among the parameters the role signs in", set: databases(func(c *Config) *[]string { return &c.Database })},
	{Name: "DATABASE_READER_URL", Means: "`postgres://` of the readers, as many as there are writers; absent: the writers", Optional: true, set: databases(func(c *Config) *[]string { return &c.Reader })},
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
	{Name: "REQUEST_QUEUE", Means: "URL of the standard queue of requests", set: func(c *Config, s string) error {
		c.Requests = s
		u, err := url.Parse(s)
		return expected(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && !strings.HasSuffix(u.Path, ".fifo"),
			"the URL of a standard queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
	}},
	{Name: "RECORDER_QUEUES", Means: "URLs of trade-recorder's FIFO queues, by shard", set: queues(func(c *Config) *[]string { return &c.Recorder })},
	{Name: "SETTLER_QUEUES", Means: "URLs of settler's FIFO queues, by shard", set: queues(func(c *Config) *[]string { return &c.Settler })},
	{Name: "VISIBILITY", Means: "how long a message stays hidden when whoever had it has died, which is how long its instrument waits; extended while it is worked on", Default: "10s", set: func(c *Config, s string) error {
		d, err := time.ParseDuration(s)
		c.Visibility = d
		return expected(err == nil && d >= time.Second && d <= MaxVisibility && d%time.Second == 0, "whole seconds, 1s to 12h")
	}},
	{Name: "ENGINE", Means: "which of the `ENGINES` this one is, counted from 0: it serves the shards whose number leaves that when divided by them", Default: "0", set: func(c *Config, s string) (err error) {
		c.Engine, err = strconv.Atoi(s)
		return expected(err == nil && c.Engine >= 0 && c.Engine < MaxShards, fmt.Sprintf("a number of 0 to %d", MaxShards-1))
	}},
	{Name: "ENGINES", Means: "how many engines share the shards", Default: "1", set: func(c *Config, s string) (err error) {
		c.Engines, err = strconv.Atoi(s)
		return expected(err == nil && c.Engines >= 1 && c.Engines <= MaxShards, fmt.Sprintf("a number of 1 to %d", MaxShards))
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

// Services are those of them that a process that stays runs as well (package
// service), and what else such a process is told. It checks risk itself.
var Services = []Function{
	{"order-processor", "`REQUEST_QUEUE`", append([]string{"REQUEST_QUEUE", "VISIBILITY"}, risk...)},
	{"matching-engine", "`COMMAND_QUEUES`, those of its shards", []string{"COMMAND_QUEUES", "VISIBILITY", "ENGINE", "ENGINES", "JOURNAL_TABLE", "ARCHIVE_BUCKET", "REDIS_URL", "EVENTS_TOPICS", "DAY_END"}},
	{"market-data", "`MARKET_DATA_QUEUES`", []string{"MARKET_DATA_QUEUES", "VISIBILITY", "JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "DATABASE_URL", "REDIS_URL", "PUSH_QUEUE"}},
	{"trade-recorder", "`RECORDER_QUEUES`", []string{"RECORDER_QUEUES", "VISIBILITY", "JOURNAL_TABLE", "DATABASE_URL", "ARCHIVE_BUCKET"}},
	{"settler", "`SETTLER_QUEUES`", []string{"SETTLER_QUEUES", "VISIBILITY", "JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "PUSH_QUEUE"}},
	{"sweeper", "a clock of its own", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "ARCHIVE_BUCKET", "DATABASE_URL", "COMMAND_QUEUES", "EVENTS_TOPICS"}},
}

// VarsOf returns the variables of a function, nil when there is none of that
// name.
func VarsOf(function string) []Var { return varsOf(Functions, function) }

// ServiceVarsOf does so for the process of a service.
func ServiceVarsOf(service string) []Var { return varsOf(Services, service) }

func varsOf(list []Function, function string) []Var {
	i := slices.IndexFunc(list, func(f Function) bool { return f.Name == function })
	if i < 0 {
		return nil
	}
	return varsNamed(function, slices.Concat(common, list[i].Vars))
}

func varsNamed(function string, names []string) (out []Var) {
	for _, name := range names {
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
	// Whoever has others check risk has no use for what checking it needs.
	return load(function, vars, getenv, function == "order-processor" && getenv("RISK_FUNCTION") != "")
}

// LoadService does so for the process of a service.
func LoadService(service string, getenv func(string) string) (*Config, error) {
	vars := ServiceVarsOf(service)
	if vars == nil {
		var names []string
		for _, s := range Services {
			names = append(names, s.Name)
		}
		return nil, fmt.Errorf("configuration: there is no service %q, expected one of %s", service, strings.Join(names, ", "))
	}
	c, err := load(service, vars, getenv, false)
	if err == nil && service == "matching-engine" && (c.Engine >= c.Engines || c.Engines > len(c.Commands)) {
		return nil, fmt.Errorf("configuration of %s: ENGINE %d, ENGINES %d, %d COMMAND_QUEUES: expected ENGINE below ENGINES, and no more ENGINES than queues", service, c.Engine, c.Engines, len(c.Commands))
	}
	return c, err
}

// LoadVars does so for a program that is told the variables of these names.
func LoadVars(program string, names []string, getenv func(string) string) (*Config, error) {
	return load(program, varsNamed(program, slices.Concat(common, names)), getenv, false)
}

func load(function string, vars []Var, getenv func(string) string, delegates bool) (*Config, error) {
	c := &Config{Function: function}
	var wrong []error
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
	if len(c.Reader) > 0 && len(c.Reader) != len(c.Database) {
		wrong = append(wrong, fmt.Errorf("DATABASE_READER_URL: %d entries, expected as many as DATABASE_URL has: %d", len(c.Reader), len(c.Database)))
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

func databases(field func(*Config) *[]string) func(*Config, string) error {
	return list(field, func(s string) error {
		u, err := url.Parse(s)
		return expected(err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && u.Host != "", "postgres://HOST...")
	})
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
