package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// good has a value for every variable.
var good = map[string]string{
	"LOG_LEVEL": "warn", "METRICS_NAMESPACE": "Venue/1", "JOURNAL_TABLE": "journal", "BALANCES_TABLE": "balances", "CONNECTIONS_TABLE": "connections",
	"ARCHIVE_BUCKET": "archive-1", "REDIS_URL": "rediss://me:secret@cache:6379", "DATABASE_URL": "postgres://me:secret@db/exchange",
	"DATABASE_READER_URL": "postgres://me:secret@reader/exchange", "EVENT_BUS": "requests", "COMMAND_QUEUES": "https://q/1/c0.fifo,https://q/1/c1.fifo",
	"EVENTS_TOPICS": "arn:aws:sns:eu-west-1:123456789012:e0.fifo", "MARKET_DATA_QUEUES": "https://q/1/m.fifo",
	"PUSH_QUEUE": "https://q/1/p.fifo", "WEBSOCKET_ENDPOINT": "https://id.execute-api.eu-west-1.amazonaws.com/live",
	"RISK_FUNCTION": "risk-checker", "TOKEN_PUBLIC_KEY": base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize)), "DAY_END": "21h30m",
	"REQUEST_QUEUE": "https://q/1/requests", "RECORDER_QUEUES": "https://q/1/r.fifo", "SETTLER_QUEUES": "https://q/1/s.fifo", "VISIBILITY": "2s", "ENGINE": "1", "ENGINES": "2",
}

func with(changes map[string]string) func(string) string {
	return func(name string) string {
		if v, ok := changes[name]; ok {
			return v
		}
		return good[name]
	}
}

func TestLoad(t *testing.T) {
	for _, f := range Functions {
		c, err := Load(f.Name, with(nil))
		require.NoError(t, err, f.Name)
		assert.Equal(t, slog.LevelWarn, c.LogLevel)
		assert.Len(t, c.Instruments, 10)
	}
	c, err := Load("matching-engine", with(map[string]string{"LOG_LEVEL": ""}))
	require.NoError(t, err)
	assert.Equal(t, slog.LevelInfo, c.LogLevel)
	assert.Equal(t, exchange.Time(21*time.Hour+30*time.Minute), c.DayEnd)
	assert.Equal(t, []string{good["EVENTS_TOPICS"]}, c.Topics)
	assert.Empty(t, c.Commands, "not its own")
	_, err = Load("nobody", with(nil))
	assert.ErrorContains(t, err, `there is no function "nobody"`)
}

// All that is wrong is named at once, and no value is repeated.
func TestLoadNamesEverything(t *testing.T) {
	_, err := Load("sweeper", func(name string) string {
		if name == "DATABASE_URL" {
			return "mysql://me:secret@db"
		}
		return ""
	})
	require.Error(t, err)
	for _, v := range VarsOf("sweeper") {
		if v.Default == "" && !v.Optional {
			assert.ErrorContains(t, err, v.Name)
		}
	}
	assert.NotContains(t, err.Error(), "secret")
	for name, bad := range map[string][]string{
		"LOG_LEVEL": {"loud"}, "METRICS_NAMESPACE": {"a b", strings.Repeat("x", 256)}, "JOURNAL_TABLE": {"a", "a b"}, "ARCHIVE_BUCKET": {"A", "-a"},
		"REDIS_URL": {"cache:6379", "http://cache"}, "EVENTS_TOPICS": {"arn:aws:sns:eu-west-1:123456789012:e0", good["EVENTS_TOPICS"] + ","},
		"DAY_END": {"24h", "-1s", "noon"},
	} {
		for _, value := range append(bad, strings.Repeat("x", MaxValue+1)) {
			_, err := Load("matching-engine", with(map[string]string{name: value}))
			assert.ErrorContains(t, err, name, "%.40q", value)
		}
	}
	_, err = Load("risk-checker", with(map[string]string{"COMMAND_QUEUES": strings.Repeat("https://q/1/c.fifo,", MaxShards) + "https://q/1/c.fifo"}))
	assert.ErrorContains(t, err, "COMMAND_QUEUES: 65 entries, expected at most 64")
	_, err = Load("websocket", with(map[string]string{"TOKEN_PUBLIC_KEY": "AAAA"}))
	assert.ErrorContains(t, err, "TOKEN_PUBLIC_KEY")
}

// Whoever has risk checked elsewhere needs nothing that checking it needs.
func TestLoadRiskElsewhere(t *testing.T) {
	none := map[string]string{"BALANCES_TABLE": "", "COMMAND_QUEUES": "", "DATABASE_URL": "", "REDIS_URL": ""}
	_, err := Load("order-processor", with(none))
	require.NoError(t, err)
	none["RISK_FUNCTION"] = ""
	_, err = Load("order-processor", with(none))
	for _, name := range []string{"BALANCES_TABLE", "COMMAND_QUEUES", "DATABASE_URL", "REDIS_URL"} {
		assert.ErrorContains(t, err, name)
	}
}

func TestInstruments(t *testing.T) {
	const one = `{"ID":1,"Symbol":"A-B","Base":{"ID":1,"Code":"A","Scale":2},"Quote":{"ID":2,"Code":"B","Scale":2},"Tick":"1","Lot":"1","MaxPrice":"100","MaxQty":"100"}`
	_, err := parseInstruments([]byte("[" + one + "]"))
	require.NoError(t, err)
	for name, tc := range map[string]struct{ data, want string }{
		"none":        {`[]`, "at least one"},
		"not JSON":    {`{`, "instruments.json"},
		"a field":     {`[{"Sym":"x"}]`, "unknown field"},
		"twice":       {"[" + one + "," + one + "]", "its ID or Symbol is that of A-B"},
		"off":         {"[" + strings.Replace(one, `"Tick":"1"`, `"Tick":"0"`, 1) + "]", "instrument 1 (A-B)"},
		"other asset": {"[" + one + "," + strings.NewReplacer(`"ID":1,"Symbol":"A-B"`, `"ID":2,"Symbol":"C-B"`, `"Scale":2},"Quote"`, `"Scale":3},"Quote"`).Replace(one) + "]", "asset 1 is A with 3 decimals here"},
	} {
		_, err := parseInstruments([]byte(tc.data))
		assert.ErrorContains(t, err, tc.want, name)
	}
}

func TestLoadService(t *testing.T) {
	for _, s := range Services {
		_, err := LoadService(s.Name, with(nil))
		require.NoError(t, err, s.Name)
	}
	c, err := LoadService("matching-engine", with(nil))
	require.NoError(t, err)
	assert.Equal(t, 2*time.Second, c.Visibility)
	assert.Equal(t, []int{1, 2}, []int{c.Engine, c.Engines})
	for name, bad := range map[string][]string{"VISIBILITY": {"0s", "1500ms", "13h", "x"}, "ENGINE": {"-1", "64", "x", "2"}, "ENGINES": {"0", "65", "3"}} {
		for _, value := range bad {
			_, err := LoadService("matching-engine", with(map[string]string{name: value}))
			assert.ErrorContains(t, err, name, value)
		}
	}
	_, err = LoadService("order-processor", with(map[string]string{"REQUEST_QUEUE": "https://q/1/requests.fifo"}))
	assert.ErrorContains(t, err, "REQUEST_QUEUE: expected the URL of a standard queue")
	_, err = LoadService("push", with(nil))
	assert.ErrorContains(t, err, `there is no service "push", expected one of order-processor, `)
	_, err = LoadVars("operate", []string{"JOURNAL_TABLE"}, with(map[string]string{"JOURNAL_TABLE": ""}))
	assert.ErrorContains(t, err, "configuration of operate:\nJOURNAL_TABLE is missing")
}

func TestShardsOfAccounts(t *testing.T) {
	vars := maps.Clone(good)
	vars["DATABASE_URL"], vars["DATABASE_READER_URL"] = "postgres://a/x,postgres://b/x", "postgres://a-ro/x,postgres://b-ro/x"
	load := func() (*Config, error) { return Load("api", func(name string) string { return vars[name] }) }
	c, err := load()
	require.NoError(t, err)
	assert.Equal(t, []string{"postgres://a/x", "postgres://b/x"}, c.Database)
	assert.Equal(t, []string{"postgres://a-ro/x", "postgres://b-ro/x"}, c.Reader)
	vars["DATABASE_READER_URL"] = "postgres://a-ro/x"
	_, err = load()
	assert.ErrorContains(t, err, "DATABASE_READER_URL: 1 entries, expected as many as DATABASE_URL has: 2")
}
