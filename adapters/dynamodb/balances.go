package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/join"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// Defaults and bounds of a BalancesConfig.
const (
	DefaultRememberHolds     = 24 * time.Hour
	DefaultRememberTransfers = 400 * 24 * time.Hour
	MinRemember              = time.Hour
	// MaxSpanning is how many spanning commands may be recorded and not
	// forgotten; then Span is ErrFull.
	MaxSpanning = 4096

	// forgetMargin is how much longer than it is remembered an item lives: by
	// so much the clocks of AWS and of all callers may differ.
	forgetMargin = time.Hour
	// turns is how many groups of accounts there are in one process, of each of
	// which one call works at a time.
	turns = 256
)

// BalancesConfig says where a Balances keeps its items. Table is mandatory; a
// duration that is zero stands for its default.
type BalancesConfig struct {
	Table string
	// RememberHolds and RememberTransfers are how long a hold that has ended,
	// and a transfer, are remembered at least. A hold or transfer that is not
	// known and whose Time lies longer ago is refused as StaleCommand. At least
	// MinRemember, and more than the engines remember of command ids
	// (exchange.Config), or late orders are refused that an engine would take.
	RememberHolds     time.Duration
	RememberTransfers time.Duration
	// Now tells the time of day; nil: time.Now. It may be called concurrently.
	Now func() time.Time
}

// Balances is a pipeline.Balances in a table of DynamoDB. Any number of them,
// in any number of processes, may work on one table.
type Balances struct {
	store
	cfg     BalancesConfig
	placing *join.Batcher[*pipeline.Hold]
	mu      sync.Mutex
	limits  map[exchange.AccountID]bool // accounts that have some
	turn    [turns]chan struct{}        // has something in it while a call works on an account
	span    chan struct{}               // the same for the list of spanning commands
}

// NewBalances returns a Balances. It does not ask whether the table is there.
func NewBalances(client *ddb.Client, cfg BalancesConfig) (*Balances, error) {
	s, err := newStore("balances", client, cfg.Table)
	if err != nil {
		return nil, err
	}
	cfg.RememberHolds = cmp.Or(cfg.RememberHolds, DefaultRememberHolds)
	cfg.RememberTransfers = cmp.Or(cfg.RememberTransfers, DefaultRememberTransfers)
	for _, given := range [...]struct {
		name string
		d    time.Duration
	}{{"RememberHolds", cfg.RememberHolds}, {"RememberTransfers", cfg.RememberTransfers}} {
		if given.d < MinRemember {
			return nil, fmt.Errorf("balances: %w: %s is %v, expected 0 or at least %v", pipeline.ErrInvalid, given.name, given.d, MinRemember)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := &Balances{store: s, cfg: cfg, limits: map[exchange.AccountID]bool{}, span: make(chan struct{}, 1)}
	b.placing = join.New(holdsTogether, holdBatches, b.placeAll)
	for i := range b.turn {
		b.turn[i] = make(chan struct{}, 1)
	}
	return b, nil
}

// alone runs f when no other call of this process works on the account: they
// would only meet in DynamoDB, and one would have to try again.
func (b *Balances) alone(ctx context.Context, acct exchange.AccountID, f func() error) error {
	return inTurn(ctx, b.turn[acct%turns], f)
}

func inTurn(ctx context.Context, turn chan struct{}, f func() error) error {
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stale reports whether something of that time may have been forgotten.
func (b *Balances) stale(t exchange.Time, remember time.Duration) bool {
	return int64(t) < b.cfg.Now().UnixNano()-int64(remember)
}

// expires returns the time to live of what is remembered from now on: never
// before its own time, or a late repeat would find it gone and not be stale.
func (b *Balances) expires(t exchange.Time, remember time.Duration) types.AttributeValue {
	from := max(b.cfg.Now().Unix(), int64(t)/int64(time.Second)+1)
	return num(from + int64((remember+forgetMargin)/time.Second))
}

// Deposit implements pipeline.Balances.
func (b *Balances) Deposit(ctx context.Context, t pipeline.Transfer) error {
	if err := b.transfer(ctx, &t, false); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return nil
}

// Withdraw implements pipeline.Balances.
func (b *Balances) Withdraw(ctx context.Context, t pipeline.Transfer) error {
	if err := b.transfer(ctx, &t, true); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	return nil
}

func (b *Balances) transfer(ctx context.Context, t *pipeline.Transfer, withdrawal bool) error {
	switch {
	case t.ID == exchange.CommandID{}:
		return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
	case t.Account == 0:
		return exchange.UnknownAccount
	case t.Amount < 1:
		return exchange.InvalidFunds
	}
	return b.alone(ctx, t.Account, func() error {
		return retry(ctx, func() error { return b.transferOnce(ctx, t, withdrawal) })
	})
}

func (b *Balances) transferOnce(ctx context.Context, t *pipeline.Transfer, withdrawal bool) error {
	me, mine, sum := transferKey(&t.ID), accountKey(t.Account), totalKey(t.Asset)
	got, err := b.getAll(ctx, []key{me, mine, sum})
	if err != nil {
		return err
	}
	if known := got[me]; known != nil {
		f := fields{item: known}
		was := pipeline.Transfer{ID: t.ID, Account: exchange.AccountID(f.uint("account", 64)), Asset: exchange.AssetID(f.uint("asset", 32)), Amount: exchange.Amount(f.int("amount")), Time: exchange.Time(f.int("time"))}
		switch same := f.bool("withdrawal") == withdrawal; {
		case f.err != nil:
			return fmt.Errorf("transfer %x: %w", t.ID, f.err)
		case was != *t || !same:
			return fmt.Errorf("%w: transfer %x", pipeline.ErrConflict, t.ID)
		}
		return nil
	}
	a, err := readAccount(t.Account, got[mine])
	if err != nil {
		return err
	}
	total := fields{item: got[sum]}
	refusal := b.refuses(t, withdrawal, a, exchange.Amount(total.int("n")))
	if total.err != nil {
		return fmt.Errorf("total of asset %d: %w", t.Asset, total.err)
	}
	if refusal != nil {
		// It may have been booked between the two readings.
		return b.unless(ctx, me, refusal)
	}
	delta, most := t.Amount, exchange.Amount(math.MaxInt64)-t.Amount
	if withdrawal {
		delta, most = -t.Amount, math.MaxInt64
	}
	a.add(t.Asset, delta, 0)
	it := me.item()
	it["account"], it["asset"], it["amount"] = unum(t.Account), unum(t.Asset), num(t.Amount)
	set(it, "time", t.Time)
	setBool(it, "withdrawal", withdrawal)
	it[TTLAttribute] = b.expires(t.Time, b.cfg.RememberTransfers)
	return b.write(ctx, newToken(), b.put(it, absent, nil, nil), b.writeAccount(a), types.TransactWriteItem{Update: &types.Update{
		TableName: aws.String(b.table), Key: sum.item(), UpdateExpression: aws.String("ADD n :delta"), ConditionExpression: aws.String("attribute_not_exists(n) OR n <= :most"),
		ExpressionAttributeValues: item{":delta": num(delta), ":most": num(most)}}})
}

// refuses returns why a transfer that is not known cannot be booked.
func (b *Balances) refuses(t *pipeline.Transfer, withdrawal bool, a *account, total exchange.Amount) error {
	available := a.of(t.Asset).Available
	switch {
	case b.stale(t.Time, b.cfg.RememberTransfers):
		return exchange.StaleCommand
	case withdrawal && available < t.Amount:
		return exchange.InsufficientFunds
	case !withdrawal && (total > math.MaxInt64-t.Amount || available > math.MaxInt64-t.Amount):
		// The second happens when rebates of the venue have brought the account
		// more than there is in total.
		return exchange.AmountOverflow
	}
	return nil
}

// unless returns the refusal, but for errAgain when the item is there by now.
func (b *Balances) unless(ctx context.Context, k key, refusal error) error {
	it, err := b.get(ctx, k, PartitionKey)
	switch {
	case err != nil:
		return err
	case it != nil:
		return errAgain
	}
	return refusal
}

// Account implements pipeline.Balances.
func (b *Balances) Account(ctx context.Context, id exchange.AccountID) (pipeline.Account, error) {
	it, err := b.get(ctx, accountKey(id))
	if err != nil {
		return pipeline.Account{}, err
	}
	a, err := readAccount(id, it)
	if err != nil {
		return pipeline.Account{}, err
	}
	return a.view(), nil
}

// Venue implements pipeline.Balances.
func (b *Balances) Venue(ctx context.Context, inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
	it, err := b.get(ctx, venueKey(inst))
	if err != nil {
		return nil, err
	}
	f := fields{item: it}
	fees := readBalances(&f)
	if f.err != nil {
		return nil, fmt.Errorf("fees of instrument %d: %w", inst, f.err)
	}
	return fees, nil
}

// SetLimits implements pipeline.Balances.
func (b *Balances) SetLimits(ctx context.Context, id exchange.AccountID, limits pipeline.AccountLimits) error {
	err := func() error {
		switch {
		case id == 0:
			return exchange.UnknownAccount
		case limits.MaxOpenOrders < 0 || limits.MaxMessages < 0 || limits.MessageWindow < 0 || limits.MaxHolding < 0:
			return fmt.Errorf("%w: %+v, expected nothing below 0", pipeline.ErrInvalid, limits)
		}
		return b.alone(ctx, id, func() error {
			return retry(ctx, func() error {
				it, err := b.get(ctx, accountKey(id))
				if err != nil {
					return err
				}
				a, err := readAccount(id, it)
				if err != nil || a.revision > 0 && a.limits == limits {
					return err
				}
				a.limits = limits
				return b.write(ctx, newToken(), b.writeAccount(a))
			})
		})
	}()
	if err != nil {
		return fmt.Errorf("setting limits: %w", err)
	}
	return nil
}

// Span implements pipeline.Balances. ErrFull: MaxSpanning are recorded.
func (b *Balances) Span(ctx context.Context, cmd exchange.Command) error {
	err := checkSpan(&cmd)
	if err == nil {
		err = b.alone(ctx, cmd.Account, func() error {
			return inTurn(ctx, b.span, func() error {
				return retry(ctx, func() error { return b.spanOnce(ctx, &cmd) })
			})
		})
	}
	if err != nil {
		return fmt.Errorf("recording a spanning command: %w", err)
	}
	return nil
}

func checkSpan(cmd *exchange.Command) error {
	switch cmd.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill:
	case exchange.KindAccountState:
		if cmd.AccountState < exchange.AccountActive || cmd.AccountState > exchange.AccountSuspended {
			return fmt.Errorf("%w: AccountState is %d, expected 1 to 3", pipeline.ErrInvalid, cmd.AccountState)
		}
	default:
		return fmt.Errorf("%w: Kind is %v, expected one that spans instruments", pipeline.ErrInvalid, cmd.Kind)
	}
	if cmd.ID == (exchange.CommandID{}) || cmd.Account == 0 {
		return fmt.Errorf("%w: ID or Account is zero", pipeline.ErrInvalid)
	}
	return nil
}

// list is the item that counts the spanning commands.
type list struct {
	revision, serial uint64
	pending          int64
}

func readList(it item) (l list, err error) {
	f := fields{item: it}
	l = list{f.uint("r", 64), f.uint("serial", 64), f.int("pending")}
	return l, f.err
}

func (b *Balances) writeList(l list) types.TransactWriteItem {
	it := spanningCounterKey.item()
	it["r"], it["serial"], it["pending"] = unum(l.revision+1), unum(l.serial), num(l.pending)
	return b.putRevision(it, l.revision)
}

func readCommand(f *fields) (exchange.Command, error) {
	m, err := pipeline.DecodeMessage(f.bytes("command"))
	if err = errors.Join(f.err, err); err != nil {
		return exchange.Command{}, fmt.Errorf("a spanning command: %w", errors.Join(rows.ErrDamaged, err))
	}
	return m.Command, nil
}

func (b *Balances) spanOnce(ctx context.Context, cmd *exchange.Command) error {
	me, mine := spanKey(&cmd.ID), accountKey(cmd.Account)
	got, err := b.getAll(ctx, []key{me, mine, spanningCounterKey})
	if err != nil {
		return err
	}
	if known := got[me]; known != nil {
		was, err := readCommand(&fields{item: known})
		if err == nil && was != *cmd {
			err = fmt.Errorf("%w: %x", pipeline.ErrConflict, cmd.ID)
		}
		return err
	}
	l, err := readList(got[spanningCounterKey])
	if err != nil {
		return err
	}
	if l.pending >= MaxSpanning {
		return b.unless(ctx, me, fmt.Errorf("%w: %d are recorded", pipeline.ErrFull, l.pending))
	}
	a, err := readAccount(cmd.Account, got[mine])
	if err != nil {
		return err
	}
	switch cmd.Kind {
	case exchange.KindKill:
		a.killed = true
	case exchange.KindLiftKill:
		a.killed = false
	case exchange.KindAccountState:
		a.state = cmd.AccountState
	}
	l.serial++
	l.pending++
	data, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: *cmd})
	if err != nil {
		return err
	}
	it, waiting := me.item(), spanningKey(l.serial).item()
	it["command"], it["serial"] = bin(data), unum(l.serial)
	waiting["command"] = bin(data)
	return b.write(ctx, newToken(), b.put(it, absent, nil, nil), b.put(waiting, absent, nil, nil), b.writeAccount(a), b.writeList(l))
}

// Spanning implements pipeline.Balances.
func (b *Balances) Spanning(ctx context.Context, limit int) (out []exchange.Command, err error) {
	if err = checkLimit(limit); err == nil {
		err = b.query(ctx, spanningPartition, "", SortKey, "0", "9"+lastDigits, limit, func(page []item) (bool, error) {
			for i := range page {
				cmd, err := readCommand(&fields{item: page[i]})
				if err != nil {
					return false, err
				}
				out = append(out, cmd)
				if len(out) == limit {
					return false, nil
				}
			}
			return true, nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("reading spanning commands: %w", err)
	}
	return out, nil
}

// checkLimit checks the limit of a query.
func checkLimit(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}

// Forget implements pipeline.Balances. What was recorded stays known.
func (b *Balances) Forget(ctx context.Context, id exchange.CommandID) error {
	err := inTurn(ctx, b.span, func() error {
		return retry(ctx, func() error { return b.forgetOnce(ctx, &id) })
	})
	if err != nil {
		return fmt.Errorf("forgetting a spanning command: %w", err)
	}
	return nil
}

func (b *Balances) forgetOnce(ctx context.Context, id *exchange.CommandID) error {
	me := spanKey(id)
	got, err := b.getAll(ctx, []key{me, spanningCounterKey})
	if err != nil {
		return err
	}
	f := fields{item: got[me]}
	if f.item == nil || f.bool("done") {
		return f.err
	}
	l, err := readList(got[spanningCounterKey])
	if err = errors.Join(err, f.err); err != nil {
		return err
	}
	waiting := spanningKey(f.uint("serial", 64))
	l.pending--
	setBool(f.item, "done", true)
	return b.write(ctx, newToken(), b.put(f.item, "attribute_not_exists(done)", nil, nil), b.writeList(l),
		types.TransactWriteItem{Delete: &types.Delete{TableName: aws.String(b.table), Key: waiting.item()}})
}

var _ pipeline.Balances = (*Balances)(nil)
