package dynamodb_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

const most = exchange.Amount(math.MaxInt64)

func hold(n int, acct exchange.AccountID, amount exchange.Amount) pipeline.Hold {
	return pipeline.Hold{ID: id(n), Account: acct, Instrument: 1, Asset: 1, Amount: amount, Time: 1000, NewOrder: true}
}

// spend settles a hold of asset 1; what it loses goes to the venue.
func spend(acct exchange.AccountID, n int, delta exchange.Amount, ended bool) *pipeline.Settlement {
	return &pipeline.Settlement{
		Accounts: []pipeline.AccountSettlement{{Account: acct, Assets: []pipeline.AssetChange{{Asset: 1, Held: delta}},
			Holds: []pipeline.HoldChange{{ID: id(n), Asset: 1, Delta: delta, Ended: ended, NewOrder: true}}}},
		Fees: []pipeline.AssetChange{{Asset: 1, Available: -delta}},
	}
}

func has(t testing.TB, b *dynamodb.Balances, acct exchange.AccountID, available, held exchange.Amount, orders int64) {
	t.Helper()
	a, err := b.Account(t.Context(), acct)
	require.NoError(t, err)
	require.Len(t, a.Balances, 1)
	require.Equal(t, exchange.Balance{Available: available, Held: held}, a.Balances[0].Balance)
	require.Equal(t, orders, a.OpenOrders)
}

// Nothing is rounded, up to the last atom and on both sides of zero.
func TestNumbersAreExact(t *testing.T) {
	_, table := newTables(t)
	b, ctx := newBalances(t, table, nil), t.Context()
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: math.MaxUint64, Asset: 1, Amount: most, Time: -1}))
	has(t, b, math.MaxUint64, most, 0, 0)
	require.NoError(t, b.Hold(ctx, pipeline.Hold{ID: id(2), Account: math.MaxUint64, Instrument: exchange.MaxID, Asset: 1, Amount: exchange.MaxHeld, Time: math.MaxInt64,
		GainAsset: exchange.MaxID, Gain: most, WorstPrice: exchange.MaxPrice, Request: [16]byte{15: 1}}))
	has(t, b, math.MaxUint64, most-exchange.MaxHeld, exchange.MaxHeld, 0)
	h, err := b.HoldByID(ctx, math.MaxUint64, id(2))
	require.NoError(t, err)
	require.Equal(t, pipeline.HoldRecord{Hold: pipeline.Hold{ID: id(2), Account: math.MaxUint64, Instrument: exchange.MaxID, Asset: 1, Amount: exchange.MaxHeld, Time: math.MaxInt64,
		GainAsset: exchange.MaxID, Gain: most, WorstPrice: exchange.MaxPrice, Request: [16]byte{15: 1}}, State: pipeline.HoldPlaced, Remaining: exchange.MaxHeld}, h)
	require.NoError(t, b.Withdraw(ctx, pipeline.Transfer{ID: id(3), Account: math.MaxUint64, Asset: 1, Amount: most - exchange.MaxHeld}))
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(4), Account: 1, Asset: 1, Amount: most - exchange.MaxHeld}))
	require.ErrorIs(t, b.Deposit(ctx, pipeline.Transfer{ID: id(5), Account: 1, Asset: 1, Amount: 1}), exchange.AmountOverflow)

	// The venue's account, which may go below zero, at both ends.
	for i, fee := range []exchange.Amount{-most, 1, most - 1, most} {
		s := &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{{Account: exchange.AccountID(i%2 + 2), Assets: []pipeline.AssetChange{{Asset: 9, Available: -fee}}}}, Fees: []pipeline.AssetChange{{Asset: 9, Available: fee}}}
		if fee > 0 {
			s.Accounts[0].Account = 2
		}
		err := b.Settle(ctx, exchangetest.Commit(t, 7, i+1)[i], s)
		if i < 3 {
			require.NoError(t, err, "fee %d", fee)
		} else {
			require.ErrorIs(t, err, pipeline.ErrInvalid, "account 2 has given all it had")
		}
		fees, err := b.Venue(ctx, 7)
		require.NoError(t, err)
		require.Equal(t, []exchange.Amount{-most, -most + 1, 0, 0}[i], fees[0].Available)
	}
	for pos, fee := range []exchange.Amount{most, 1} {
		s := &pipeline.Settlement{Fees: []pipeline.AssetChange{{Asset: 9, Available: fee}}}
		for _, acct := range []exchange.AccountID{2, 3} { // made to have it
			if pos == 0 {
				_, err := newClient(t, nil).PutItem(ctx, &ddb.PutItemInput{TableName: aws.String(table), Item: map[string]types.AttributeValue{
					"pk": &types.AttributeValueMemberS{Value: "account#" + string('0'+rune(acct))}, "sk": &types.AttributeValueMemberS{Value: "account"},
					"r": &types.AttributeValueMemberN{Value: "1"}, "a#9": &types.AttributeValueMemberN{Value: "9223372036854775807"}}})
				require.NoError(t, err)
			}
		}
		s.Accounts = []pipeline.AccountSettlement{{Account: exchange.AccountID(2 + pos), Assets: []pipeline.AssetChange{{Asset: 9, Available: -fee}}}}
		err := b.Settle(ctx, exchangetest.Commit(t, 8, pos+1)[pos], s)
		if pos == 0 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, pipeline.ErrInvalid, "fees beyond 2^63-1")
		}
	}
}

// Callers of several processes who meet at one account all get through, and
// nobody gets what another has.
func TestContention(t *testing.T) {
	_, table := newTables(t)
	ctx := t.Context()
	first := newBalances(t, table, nil)
	require.NoError(t, first.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 30}))
	const processes, each = 4, 10
	held := make([]int, processes)
	var wg sync.WaitGroup
	for p := range processes {
		b := newBalances(t, table, nil)
		wg.Go(func() {
			for n := range each {
				switch err := b.Hold(ctx, hold(100*p+n+10, 7, 1)); {
				case err == nil:
					held[p]++
				default:
					if !errors.Is(err, exchange.InsufficientFunds) {
						t.Errorf("process %d: %v", p, err)
					}
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range held {
		total += n
	}
	require.Equal(t, 30, total)
	has(t, first, 7, 0, 30, 30)
}

// Two deposits that fit into the total one by one, but not together.
func TestTotalIsNotOverdrawnTogether(t *testing.T) {
	_, table := newTables(t)
	for asset := exchange.AssetID(1); asset <= 4; asset++ {
		var wg sync.WaitGroup
		var errs [3]error
		for i := range errs {
			b := newBalances(t, table, nil)
			wg.Go(func() {
				errs[i] = b.Deposit(t.Context(), pipeline.Transfer{ID: id(10*int(asset) + i), Account: exchange.AccountID(i + 1), Asset: asset, Amount: most/2 + 1})
			})
		}
		wg.Wait()
		booked := 0
		for _, err := range errs {
			if err == nil {
				booked++
			} else {
				require.ErrorIs(t, err, exchange.AmountOverflow)
			}
		}
		require.Equal(t, 1, booked, "of asset %d", asset)
	}
}

// The items of one reading need not be of one moment: a repeat that finds the
// funds gone, but not yet the hold or withdrawal that took them, looks again.
func TestReadingsOfTwoMoments(t *testing.T) {
	_, table := newTables(t)
	w := &wire{}
	b, ctx := newBalances(t, table, w), t.Context()
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 10}))
	withdrawal := pipeline.Transfer{ID: id(2), Account: 7, Asset: 1, Amount: 6}
	require.NoError(t, b.Withdraw(ctx, withdrawal))
	require.NoError(t, b.Hold(ctx, hold(3, 7, 4)))
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxMessages: 100, MessageWindow: 1 << 40}))
	left := 0
	w.answer = func(op string, body []byte) []byte {
		if op != "BatchGetItem" || left > 0 {
			return body
		}
		left++
		var got struct {
			Responses       map[string][]map[string]map[string]any
			UnprocessedKeys struct{}
		}
		require.NoError(t, json.Unmarshal(body, &got))
		items := got.Responses[table]
		n := len(items)
		items = slices.DeleteFunc(items, func(it map[string]map[string]any) bool {
			kind, _, _ := strings.Cut(it["pk"]["S"].(string), "#")
			return kind == "hold" || kind == "transfer"
		})
		require.Len(t, items, n-1)
		got.Responses[table] = items
		body, err := json.Marshal(got)
		require.NoError(t, err)
		return body
	}
	require.NoError(t, b.Withdraw(ctx, withdrawal))
	require.Equal(t, 1, left)
	for range 2 { // with and without messages that are counted
		left = 0
		require.NoError(t, b.Hold(ctx, hold(3, 7, 4)))
		require.Equal(t, 1, left)
		require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{}))
	}
	has(t, b, 7, 0, 4, 1)
}

// A call whose requests fail at any step does its work once, and says so.
func TestBalancesFaults(t *testing.T) {
	t.Parallel()
	_, table := newTables(t)
	w := &wire{}
	b, ctx := newBalances(t, table, w), t.Context()
	seen := newBalances(t, table, nil)
	c := exchangetest.Commit(t, 1, 100)
	n, pos := 10, 0
	available, held, orders := exchange.Amount(0), exchange.Amount(0), int64(0)
	for _, f := range []fault{unsent, lost, throttled, broken} {
		for _, op := range []string{"BatchGetItem", "TransactWriteItems", "GetItem", "UpdateItem"} {
			n += 3
			w.set(op, 1, f)
			require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(n), Account: 7, Asset: 1, Amount: 100}))
			available += 100
			w.set(op, 1, f)
			require.NoError(t, b.Hold(ctx, hold(n, 7, 10)))
			w.set(op, 1, f)
			require.NoError(t, b.Hold(ctx, hold(n+1, 7, 5)))
			available, held, orders = available-15, held+15, orders+2
			w.set(op, 1, f)
			require.ErrorIs(t, b.Hold(ctx, hold(n+2, 7, available+1)), exchange.InsufficientFunds)
			has(t, seen, 7, available, held, orders)
			w.set(op, 1, f)
			require.NoError(t, b.Settle(ctx, c[pos], spend(7, n, -10, true)))
			held, orders = held-10, orders-1
			pos++
			has(t, seen, 7, available, held, orders)
			w.set(op, 1, f)
			settled, err := b.Settled(ctx, 1)
			require.NoError(t, err)
			require.Equal(t, c[pos-1].Position(), settled)
			fees, err := b.Venue(ctx, 1)
			require.NoError(t, err)
			require.Equal(t, exchange.Amount(10*pos), fees[0].Available)
			w.set(op, 1, f)
			require.NoError(t, b.Withdraw(ctx, pipeline.Transfer{ID: id(n + 1), Account: 7, Asset: 1, Amount: 1}))
			available--
			w.set(op, 1, f)
			require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxHolding: exchange.Amount(n)}))
			cmd := exchange.Command{Kind: exchange.KindMassCancel, Account: 7, ID: id(n)}
			w.set(op, 1, f)
			require.NoError(t, b.Span(ctx, cmd))
			w.set("Query", 1, f)
			list, err := b.Spanning(ctx, 10)
			require.NoError(t, err)
			require.Equal(t, []exchange.Command{cmd}, list)
			w.set(op, 1, f)
			require.NoError(t, b.Forget(ctx, id(n)))
			list, err = b.Spanning(ctx, 10)
			require.NoError(t, err)
			require.Empty(t, list)
			w.set("Query", 5, f)
			placed, err := b.Placed(ctx, 1001, nil, 1000)
			require.NoError(t, err)
			require.Len(t, placed, pos)
			has(t, seen, 7, available, held, orders)
		}
	}
}

// An account with more holds in one item than a transaction takes is booked in
// several, wherever the first call ends.
func TestManyHoldsOfOneAccount(t *testing.T) {
	t.Parallel()
	const holds, refused = 130, 110 // so that some of these come before the last transaction
	settle := &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{{Account: 7, Assets: []pipeline.AssetChange{{Asset: 1, Available: holds, Held: -holds}}}}}
	a := &settle.Accounts[0]
	for n := range holds {
		a.Holds = append(a.Holds, pipeline.HoldChange{ID: id(n + 1), Asset: 1, Delta: -1, Ended: true, NewOrder: true})
	}
	for n := range refused {
		a.Refused = append(a.Refused, id(holds+n+1))
	}
	for dies := range 4 { // before its first to third transaction, or not at all
		_, table := newTables(t)
		w := &wire{}
		b, ctx := newBalances(t, table, nil), t.Context()
		require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 500}))
		first := &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{{Account: 7, Assets: []pipeline.AssetChange{{Asset: 1, Available: -holds, Held: holds}}}}}
		for n := range holds {
			first.Accounts[0].Holds = append(first.Accounts[0].Holds, pipeline.HoldChange{ID: id(n + 1), Asset: 1, Delta: 1, NewOrder: true})
		}
		for n := range 5 { // of those that are refused five are known
			require.NoError(t, b.Hold(ctx, hold(holds+n+1, 7, 2)))
		}
		c := exchangetest.Commit(t, 1, 2)
		require.NoError(t, b.Settle(ctx, c[0], first))
		has(t, b, 7, 500-holds-10, holds+10, holds+5)

		dying, cancel := context.WithCancel(ctx)
		w.set("TransactWriteItems", dies+1, unsent)
		rule := w.rule
		w.rule = func(op string) fault {
			f := rule(op)
			if f != none {
				cancel()
			}
			return f
		}
		err := newBalances(t, table, w).Settle(dying, c[1], settle)
		cancel()
		if dies < 3 {
			require.Error(t, err)
			has(t, b, 7, 500-holds-10, holds+10, holds+5)
			require.NoError(t, b.Hold(ctx, hold(1000, 7, 0)), "others go on meanwhile")
		} else {
			require.NoError(t, err)
			require.NoError(t, b.Hold(ctx, hold(1000, 7, 0)))
		}
		for range 2 {
			require.NoError(t, b.Settle(ctx, c[1], settle))
			has(t, b, 7, 500, 0, 1)
		}
		for n := 1; n <= holds+refused; n += 17 {
			require.ErrorIs(t, b.Hold(ctx, hold(n, 7, 1)), pipeline.ErrHoldEnded)
		}
	}
}

// clock is a clock that is moved by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// What was forgotten is stale. The table forgets by its time to live, which a
// test cannot wait for: it deletes what is due.
func TestForgetting(t *testing.T) {
	_, table := newTables(t)
	ctx, c := t.Context(), newClient(t, nil)
	day := &clock{time.Unix(1_700_000_000, 0)}
	b, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: table, Now: day.Now, RememberHolds: 2 * time.Hour, RememberTransfers: 3 * time.Hour})
	require.NoError(t, err)
	at := func(ago time.Duration) exchange.Time { return exchange.Time(day.now.Add(-ago).UnixNano()) }
	expire := func() (gone int) {
		for _, it := range all(t, table) {
			ttl := text(it[dynamodb.TTLAttribute])
			if ttl != "" && ttl <= formatInt(day.now.Unix()) {
				_, err := c.DeleteItem(ctx, &ddb.DeleteItemInput{TableName: aws.String(table), Key: map[string]types.AttributeValue{"pk": it["pk"], "sk": it["sk"]}})
				require.NoError(t, err)
				gone++
			}
		}
		return gone
	}
	deposit := pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 100, Time: at(0)}
	ended, open := hold(2, 7, 10), hold(3, 7, 20)
	ended.Time, open.Time = at(0), at(0)
	require.NoError(t, b.Deposit(ctx, deposit))
	require.NoError(t, b.Hold(ctx, ended))
	require.NoError(t, b.Hold(ctx, open))
	require.NoError(t, b.Settle(ctx, exchangetest.Commit(t, 1, 1)[0], spend(7, 2, -10, true)))

	day.now = day.now.Add(2 * time.Hour)
	require.Zero(t, expire(), "after two hours all is known")
	require.ErrorIs(t, b.Hold(ctx, ended), pipeline.ErrHoldEnded)
	require.NoError(t, b.Hold(ctx, open))
	stale, late := hold(4, 7, 1), hold(5, 7, 1)
	stale.Time, late.Time = at(2*time.Hour)-1, at(2*time.Hour)
	require.ErrorIs(t, b.Hold(ctx, stale), exchange.StaleCommand, "longer ago than holds are remembered")
	stale.Amount = -1
	require.ErrorIs(t, b.Hold(ctx, stale), exchange.InvalidHeld, "comes before it")
	require.NoError(t, b.Hold(ctx, late), "just remembered")

	day.now = day.now.Add(time.Hour + time.Second)
	require.Equal(t, 1, expire(), "the hold that has ended, an hour later")
	require.ErrorIs(t, b.Hold(ctx, ended), exchange.StaleCommand)
	require.NoError(t, b.Hold(ctx, open), "what is open is never forgotten")
	require.NoError(t, b.Deposit(ctx, deposit))
	old := deposit
	old.ID, old.Time = id(9), at(3*time.Hour)-1
	require.ErrorIs(t, b.Deposit(ctx, old), exchange.StaleCommand)
	require.ErrorIs(t, b.Withdraw(ctx, old), exchange.StaleCommand)

	day.now = day.now.Add(time.Hour)
	require.Equal(t, 1, expire(), "the deposit")
	require.ErrorIs(t, b.Deposit(ctx, deposit), exchange.StaleCommand)
	has(t, b, 7, 69, 21, 2)
}

// Commands that wait to be sent are bounded, and never lost.
func TestSpanningIsBounded(t *testing.T) {
	_, table := newTables(t)
	b, ctx := newBalances(t, table, nil), t.Context()
	kill := func(n int) exchange.Command {
		return exchange.Command{Kind: exchange.KindKill, Account: 7, ID: id(n)}
	}
	require.NoError(t, b.Span(ctx, kill(1)))
	// As if so many had been recorded.
	_, err := newClient(t, nil).UpdateItem(ctx, &ddb.UpdateItemInput{TableName: aws.String(table), UpdateExpression: aws.String("SET pending = :n"),
		Key:                       map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "spanning"}, "sk": &types.AttributeValueMemberS{Value: "counter"}},
		ExpressionAttributeValues: map[string]types.AttributeValue{":n": &types.AttributeValueMemberN{Value: formatInt(dynamodb.MaxSpanning - 1)}}})
	require.NoError(t, err)
	require.NoError(t, b.Span(ctx, kill(2)))
	require.ErrorIs(t, b.Span(ctx, kill(3)), pipeline.ErrFull)
	require.NoError(t, b.Span(ctx, kill(2)), "what is recorded may be repeated")
	require.NoError(t, b.Forget(ctx, id(1)))
	require.NoError(t, b.Forget(ctx, id(1)))
	require.NoError(t, b.Span(ctx, kill(3)))
	require.ErrorIs(t, b.Span(ctx, kill(4)), pipeline.ErrFull)
	list, err := b.Spanning(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{kill(2), kill(3)}, list)
}

// Items that are none of ours are refused by name, and nothing is made of them.
func TestDamagedBalances(t *testing.T) {
	_, table := newTables(t)
	b, ctx, c := newBalances(t, table, nil), t.Context(), newClient(t, nil)
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 100}))
	require.NoError(t, b.Hold(ctx, hold(2, 7, 10)))
	require.NoError(t, b.Settle(ctx, exchangetest.Commit(t, 1, 1)[0], spend(7, 2, -1, false)))
	require.NoError(t, b.Span(ctx, exchange.Command{Kind: exchange.KindKill, Account: 7, ID: id(3)}))
	calls := map[string]func() error{
		"account": func() error { return second(b.Account(ctx, 7)) },
		"hold":    func() error { return second(b.HoldByID(ctx, 7, id(2))) },
		"venue":   func() error { return second(b.Venue(ctx, 1)) },
		"span":    func() error { return b.Span(ctx, exchange.Command{Kind: exchange.KindKill, Account: 7, ID: id(3)}) },
		"total":   func() error { return b.Deposit(ctx, pipeline.Transfer{ID: id(4), Account: 7, Asset: 1, Amount: 1}) },
		"transfer": func() error {
			return b.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 100})
		},
	}
	broken := map[string]bool{}
	for _, it := range all(t, table) {
		for what, call := range calls {
			if !strings.HasPrefix(text(it["pk"]), what+"#") {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(it)) {
				old, isNumber := it[name].(*types.AttributeValueMemberN)
				if _, isBytes := it[name].(*types.AttributeValueMemberB); !isNumber && !isBytes || name == dynamodb.TTLAttribute || what == "span" && name == "serial" || what == "venue" && name == "p" {
					continue
				}
				was := it[name]
				put := func(v types.AttributeValue) {
					it[name] = v
					_, err := c.PutItem(ctx, &ddb.PutItemInput{TableName: aws.String(table), Item: it})
					require.NoError(t, err)
				}
				put(&types.AttributeValueMemberBOOL{Value: true})
				require.ErrorIs(t, call(), rows.ErrDamaged, "%s: %s", what, name)
				if isNumber {
					put(&types.AttributeValueMemberN{Value: "9223372036854775808" + old.Value})
					require.ErrorIs(t, call(), rows.ErrDamaged, "%s: %s beyond 64 bits", what, name)
				}
				put(was)
				broken[what] = true
			}
			require.NoError(t, call(), what)
		}
	}
	require.Len(t, broken, len(calls))
}
