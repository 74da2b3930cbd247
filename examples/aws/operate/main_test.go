package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/examples/aws/local/cloud"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func operate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, os.Getenv, &out)
	return out.String(), err
}

func TestRefuses(t *testing.T) {
	for name, value := range map[string]string{"BALANCES_TABLE": "balances", "COMMAND_QUEUES": "https://q/1/c.fifo", "AWS_REGION": "us-east-1"} {
		t.Setenv(name, value)
	}
	for _, tc := range []struct{ args, want string }{
		{"", "expected operate [-id ID] COMMAND, one of:"},
		{"-x", "expected operate"},
		{"sell", `there is no command "sell"`},
		{"halt", "halt: 0 arguments, expected halt SYMBOL"},
		{"status more", "status: 1 arguments, expected status"},
		{"-id mine halt BTC-USD", `-id "mine": expected one that was printed`},
		{"migrate", "DATABASE_URL is missing"},
		{"halt BTC", `SYMBOL "BTC": expected one of BTC-USD, ETH-USD`},
		{"kill 0", `ACCOUNT "0": expected a number of 1 or more`},
		{"deposit x USD 1", `ACCOUNT "x"`},
		{"deposit 1 EUR 1", `ASSET "EUR": expected one of ATOM, AVAX`},
		{"deposit 1 USD one", `AMOUNT "one": expected a decimal`},
		{"deposit 1 USD 0.0000001", `AMOUNT "0.0000001"`},
		{"limits 1 -1 0 0s 0", `OPEN_ORDERS "-1": expected a number of 0 or more`},
		{"limits 1 0 5 0s 0", `WINDOW "0s": expected a duration`},
	} {
		_, err := operate(t, strings.Fields(tc.args)...)
		assert.ErrorContains(t, err, tc.want, tc.args)
	}
}

// The commands on the stores of the local cloud, with an engine in this process.
func TestOperate(t *testing.T) {
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "exchange-operate-") // PostgreSQL's user must be able to enter
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	var names []string
	for _, s := range config.Services {
		names = append(names, s.Name)
	}
	// Nobody calls a function here, so none is compiled.
	binaries := t.TempDir()
	for _, f := range config.Functions {
		require.NoError(t, os.WriteFile(filepath.Join(binaries, f.Name), nil, 0o755))
	}
	c, err := cloud.Start(ctx, cloud.Config{Dir: dir, Binaries: binaries, Resident: names})
	if errors.Is(err, standin.ErrMissing) {
		exchangetest.Skip(t, exchangetest.Reason(err.Error()))
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	for name, value := range c.Environment(config.Vars) {
		t.Setenv(name, value)
	}
	says := func(want string, args ...string) {
		t.Helper()
		out, err := operate(t, args...)
		require.NoError(t, err)
		require.Contains(t, out, want)
	}
	refuses := func(want error, args ...string) {
		t.Helper()
		_, err := operate(t, args...)
		require.ErrorIs(t, err, want)
	}
	cfg, err := config.LoadVars("engine", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "ARCHIVE_BUCKET", "REDIS_URL", "EVENTS_TOPICS"}, os.Getenv)
	require.NoError(t, err)
	env, err := wire.NewEnv(cfg)
	require.NoError(t, err)
	m, err := env.Engine(env.Instruments())
	require.NoError(t, err)
	require.NoError(t, env.Failed())
	settings, err := awsconfig.LoadDefaultConfig(ctx)
	require.NoError(t, err)
	q, err := sqs.NewQueue(awssqs.NewFromConfig(settings), sqs.Config{QueueURLs: strings.Split(os.Getenv("COMMAND_QUEUES"), ","), Wait: time.Second})
	require.NoError(t, err)
	defer q.Close(context.Background())
	match := func(messages int) (last exchange.InstrumentID) {
		for messages > 0 {
			d, err := q.Receive(ctx, pipeline.MaxReceive)
			require.NoError(t, err)
			done, err := m.Handle(ctx, d.Instrument, d.Messages)
			require.NoError(t, err)
			require.NoError(t, q.Ack(ctx, d, done))
			messages -= done
			last = d.Instrument
		}
		return last
	}
	last := func(inst exchange.InstrumentID) exchange.Event {
		head, err := env.Log().Journal().Head(ctx, inst)
		require.NoError(t, err)
		items, err := env.Log().Read(ctx, inst, head.Position, 1)
		require.NoError(t, err)
		entries := items[0].Batch().Entries
		return entries[len(entries)-1].Events[0]
	}

	// Funds, once for each id.
	id := fmt.Sprintf("%d-one", time.Now().Unix())
	says("account 77 has 12.5 USD available, 0 held", "-id", id, "deposit", "77", "USD", "12.5")
	says("account 77 has 12.5 USD available", "-id", id, "deposit", "77", "USD", "12.5")
	refuses(pipeline.ErrConflict, "-id", id, "deposit", "77", "USD", "13")
	says("account 77 has 10 USD available", "withdraw", "77", "USD", "2.5")
	refuses(exchange.InsufficientFunds, "withdraw", "77", "USD", "10.000001")
	says("MaxOpenOrders:5 MaxMessages:10", "limits", "77", "5", "10", "1s", "0")

	// A halt, and what is refused then.
	order := func(n byte) {
		o := exchange.LimitOrder(1, 77, exchange.Buy, 6400000, 1000)
		o.ID, o.Time, o.Held = exchange.CommandID{n}, wire.Now(), 1<<40
		body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: o})
		require.NoError(t, err)
		require.NoError(t, q.Send(ctx, []pipeline.QueueMessage{{Instrument: 1, DedupID: o.ID, Body: body}}))
		match(1)
	}
	says("BTC-USD: sent", "halt", "BTC-USD")
	match(1)
	order(1)
	assert.Equal(t, exchange.InstrumentNotTrading, last(1).Reason)
	says("BTC-USD: sent", "resume", "BTC-USD")
	match(1)
	order(2)
	assert.Equal(t, exchange.EventAccepted, last(1).Kind)

	// A kill, in the balances and in every book.
	says("account 77: recorded, and sent to 10 instruments", "kill", "77")
	match(10)
	a, err := env.Balances().Account(ctx, 77)
	require.NoError(t, err)
	assert.True(t, a.Killed)
	order(3)
	assert.Equal(t, exchange.KillSwitchEngaged, last(1).Reason)
	says("sent to 10 instruments", "lift", "77")
	match(10)
	a, err = env.Balances().Account(ctx, 77)
	require.NoError(t, err)
	assert.False(t, a.Killed)

	// Looking, verifying, rebuilding.
	says("symbol", "status")
	says("BTC-USD: 7 items replayed, every event is as it was", "verify", "BTC-USD")
	says("from the durable snapshot it is the same", "verify", "BTC-USD")
	_, err = env.Books().LoadBook(ctx, 1)
	require.ErrorIs(t, err, pipeline.ErrNotFound, "not yet due")
	says("BTC-USD: the book store has the book of 7", "rebuild", "BTC-USD")
	book, err := env.Books().LoadBook(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 7, book.Position)
	says("the schema is what this release needs", "migrate")
}
