package storetest

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

var seed = flag.Uint64("kill.seed", 0, "seed of when processes are killed, 0: a new one")

// childDir tells the child where the store is.
const childDir = "EXCHANGE_STORETEST_DIR"

// Main runs the tests, or in a child the load.
func Main(m *testing.M, open Open) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := load(dir, open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The load. Each instrument goes through its positions one by one: at position
// p it holds for order p, appends item p, settles it and records it, and says
// so after each step. So what the stores must have follows from how far they
// have come.
const (
	instruments = 8
	accounts    = 5
	funds       = exchange.Amount(1 << 40) // of each account
	asset       = exchange.AssetID(3)
	snapEvery   = 40
	keep        = 10 // items below the snapshot
)

// What the child says: a letter, the instrument, a position.
const (
	began    = 'b' // before the store is opened
	held     = 'h'
	appended = 'a'
	settled  = 's'
	recorded = 'r'
	snapshot = 'n'
	trimmed  = 't'
)

type said struct {
	what byte
	inst exchange.InstrumentID
	pos  pipeline.Position
}

func orderID(inst exchange.InstrumentID, pos pipeline.Position) (id exchange.CommandID) {
	return pipeline.CommandIDOf(exchange.AccountID(inst), inst, exchange.KindNewOrder, fmt.Sprint(pos))
}

func payer(inst exchange.InstrumentID, pos pipeline.Position) exchange.AccountID {
	return exchange.AccountID((uint64(inst)+uint64(pos))%accounts + 1)
}

func payee(inst exchange.InstrumentID, pos pipeline.Position) exchange.AccountID {
	return exchange.AccountID((uint64(inst)*7+uint64(pos)/2)%accounts + 1)
}

func price(pos pipeline.Position) exchange.Amount { return exchange.Amount(pos%9 + 2) }

func holdFor(inst exchange.InstrumentID, pos pipeline.Position) pipeline.Hold {
	return pipeline.Hold{ID: orderID(inst, pos), Account: payer(inst, pos), Instrument: inst, Asset: asset, Amount: price(pos), Time: exchange.Time(pos), NewOrder: true}
}

func batch(inst exchange.InstrumentID, pos pipeline.Position) *pipeline.Batch {
	cmd := exchange.AdvanceTime(inst, exchange.Time(pos))
	// Sizes differ, so that some kills fall into large writes.
	b := &pipeline.Batch{Instrument: inst, Rules: pipeline.CurrentRules, Entries: make([]pipeline.Entry, 1+int(pos*pos)%97)}
	for i := range b.Entries {
		b.Entries[i] = pipeline.Entry{Message: pipeline.Message{Command: cmd, ClientID: fmt.Sprint("client", pos)},
			Events: []exchange.Event{{Kind: exchange.EventTimeAdvanced, Instrument: inst, Seq: uint64(pos), Time: exchange.Time(pos)}}}
	}
	return b
}

// settlement moves what is held from the payer to the payee, less a fee of 1.
func settlement(inst exchange.InstrumentID, pos pipeline.Position) *pipeline.Settlement {
	n, from, to := price(pos), payer(inst, pos), payee(inst, pos)
	s := &pipeline.Settlement{Fees: []pipeline.AssetChange{{Asset: asset, Available: 1}}}
	for acct := exchange.AccountID(1); acct <= accounts; acct++ {
		a := pipeline.AccountSettlement{Account: acct, Assets: []pipeline.AssetChange{{Asset: asset}}}
		if acct == from {
			a.Assets[0].Held = -n
			a.Holds = []pipeline.HoldChange{{ID: orderID(inst, pos), Asset: asset, Delta: -n, Ended: true, NewOrder: true}}
		}
		if acct == to {
			a.Assets[0].Available = n - 1
		}
		if acct == from || acct == to {
			s.Accounts = append(s.Accounts, a)
		}
	}
	return s
}

func record(inst exchange.InstrumentID, pos pipeline.Position) *pipeline.Record {
	id := orderID(inst, pos)
	r := &pipeline.Record{
		Orders: []pipeline.OrderRecord{{CommandID: id, ClientID: fmt.Sprint("client", pos), Instrument: inst, OrderID: exchange.OrderID(pos), Account: payer(inst, pos),
			Status: pipeline.OrderOpen, Created: exchange.Time(pos), Seq: uint64(pos)}},
		Trades: []pipeline.Trade{{Instrument: inst, ID: exchange.TradeID(pos), Time: exchange.Time(pos), Price: exchange.Price(pos), Qty: 1, Amount: price(pos),
			Taker: pipeline.Party{CommandID: id, Account: payer(inst, pos)}, Maker: pipeline.Party{Account: payee(inst, pos)}}},
	}
	if pos > 1 { // the order before is filled by now
		r.Orders = append(r.Orders, record(inst, pos-1).Orders[0])
		r.Orders[1].Status = pipeline.OrderFilled
	}
	return r
}

func snapshotData(inst exchange.InstrumentID, pos pipeline.Position) []byte {
	data := make([]byte, int(pos)%5*50_000)
	for i := range data {
		data[i] = byte(i) ^ byte(inst) ^ byte(pos)
	}
	return data
}

// load works until it is killed.
func load(dir string, open Open) error {
	ctx := context.Background()
	tell := func(what byte, inst exchange.InstrumentID, pos pipeline.Position) {
		fmt.Fprintf(os.Stdout, "%c %d %d\n", what, inst, pos) // one write
	}
	tell(began, 0, 0)
	s, err := open(dir)
	if err != nil {
		return err
	}
	for acct := exchange.AccountID(1); acct <= accounts; acct++ {
		if err := s.Balances().Deposit(ctx, pipeline.Transfer{ID: exchange.CommandID{byte(acct)}, Account: acct, Asset: asset, Amount: funds}); err != nil {
			return err
		}
	}
	errs := make(chan error)
	for inst := exchange.InstrumentID(1); inst <= instruments; inst++ {
		go func() { errs <- follow(ctx, s, inst, tell) }()
	}
	return <-errs
}

// follow goes on where the stores are.
func follow(ctx context.Context, s Store, inst exchange.InstrumentID, tell func(byte, exchange.InstrumentID, pipeline.Position)) error {
	log := pipeline.NewLog(s.Journal())
	head, err := s.Journal().Head(ctx, inst)
	if err != nil {
		return err
	}
	at, err := min2(s.Balances().Settled(ctx, inst))(s.TradeStore().Recorded(ctx, inst))
	if err != nil {
		return err
	}
	for pos := at + 1; ; pos++ {
		var c pipeline.Committed
		if pos <= head.Position {
			items, err := log.Read(ctx, inst, pos, 1)
			if err != nil {
				return err
			}
			c = items[0]
		} else {
			if err := s.Balances().Hold(ctx, holdFor(inst, pos)); err != nil {
				return err
			}
			tell(held, inst, pos)
			if c, err = log.Append(ctx, head, batch(inst, pos)); err != nil {
				return err
			}
			head = c.Head()
			tell(appended, inst, pos)
		}
		if err := s.Journal().MarkPublished(ctx, inst, pos); err != nil {
			return err
		}
		if err := s.Balances().Settle(ctx, c, settlement(inst, pos)); err != nil {
			return err
		}
		tell(settled, inst, pos)
		if err := s.TradeStore().Record(ctx, c, record(inst, pos)); err != nil {
			return err
		}
		tell(recorded, inst, pos)
		if pos%snapEvery == 0 {
			if err := s.Journal().SaveSnapshot(ctx, inst, pipeline.Snapshot{Head: c.Head(), Data: snapshotData(inst, pos)}); err != nil {
				return err
			}
			tell(snapshot, inst, pos)
			if err := s.Journal().Trim(ctx, inst, pos-keep); err != nil {
				return err
			}
			tell(trimmed, inst, pos-keep)
		}
	}
}

func min2(a pipeline.Position, err error) func(pipeline.Position, error) (pipeline.Position, error) {
	return func(b pipeline.Position, err2 error) (pipeline.Position, error) {
		return min(a, b), errors.Join(err, err2)
	}
}

// TestKill starts a child and kills it in the middle of its work, round after round
// on the same store, and checks the store after each.
func TestKill(t *testing.T, open Open, rounds int) {
	random := *seed
	if random == 0 {
		random = rand.Uint64()
	}
	t.Logf("to kill after as many answers again: go test -run '%s' -kill.seed=%d", t.Name(), random)
	rng := rand.New(rand.NewPCG(random, 0))
	dir := t.TempDir()
	known := map[said]bool{}
	reached := map[said]pipeline.Position{} // by what and instrument, the highest
	for round := range rounds {
		// Now and then it is killed while it opens the store.
		n := rng.IntN(600)
		if round%5 == 4 {
			n = 0
		}
		answers := runChild(t, dir, n)
		for _, a := range answers {
			known[a] = true
			key := said{what: a.what, inst: a.inst}
			reached[key] = max(reached[key], a.pos)
		}
		check(t, dir, open, reached)
		if t.Failed() {
			t.Fatalf("in round %d, after %d answers", round, len(answers))
		}
	}
	t.Logf("%d rounds, %d answers, none lost", rounds, len(known))
}

// runChild returns what a child has said until it was killed, which happens
// after n answers.
func runChild(t *testing.T, dir string, n int) []said {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { _ = child.Process.Kill() })
	defer func() {
		kill()
		_ = child.Wait() // killed, and says so
	}()
	var answers []said
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var a said
		if _, err := fmt.Sscanf(lines.Text(), "%c %d %d", &a.what, &a.inst, &a.pos); err != nil {
			t.Fatalf("the child says %q: %v", lines.Text(), err)
		}
		if a.what != began {
			answers = append(answers, a)
		}
		if len(answers) >= n {
			kill() // what it has said before is still read
		}
	}
	if len(answers) < n {
		t.Fatalf("the child ended by itself, after %d answers", len(answers))
	}
	return answers
}

// check opens the store and compares it with what it must have.
func check(t *testing.T, dir string, open Open, reached map[said]pipeline.Position) {
	t.Helper()
	s, err := open(dir)
	if err != nil {
		t.Fatalf("opening after a kill: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}()
	ctx := t.Context()
	c := &checker{t: t, ctx: ctx, s: s, reached: reached}
	for inst := exchange.InstrumentID(1); inst <= instruments; inst++ {
		c.journal(inst)
		c.trades(inst)
	}
	c.balances()
}

type checker struct {
	t       *testing.T
	ctx     context.Context
	s       Store
	reached map[said]pipeline.Position
}

// least fails when a position lies below what was confirmed.
func (c *checker) least(what byte, inst exchange.InstrumentID, got pipeline.Position) {
	c.t.Helper()
	if want := c.reached[said{what: what, inst: inst}]; got < want {
		c.t.Errorf("instrument %d: %c: %d was confirmed, %d is there", inst, what, want, got)
	}
}

func (c *checker) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *checker) journal(inst exchange.InstrumentID) {
	j := c.s.Journal()
	head, err := j.Head(c.ctx, inst)
	c.ok(err)
	c.least(appended, inst, head.Position)
	mark, err := j.Published(c.ctx, inst)
	c.ok(err)
	if mark > head.Position {
		c.t.Errorf("instrument %d: published up to %d of %d", inst, mark, head.Position)
	}
	snap, err := j.LoadSnapshot(c.ctx, inst)
	if err != nil && !errors.Is(err, pipeline.ErrNotFound) {
		c.t.Fatal(err)
	}
	c.least(snapshot, inst, snap.Position)
	if string(snap.Data) != string(snapshotData(inst, snap.Position)) {
		c.t.Errorf("instrument %d: the snapshot at %d is damaged", inst, snap.Position)
	}
	// What was trimmed may lie anywhere below the snapshot.
	first := c.reached[said{what: trimmed, inst: inst}] + 1
	for first <= head.Position {
		_, err := j.Read(c.ctx, inst, first, 1)
		if !errors.Is(err, pipeline.ErrTrimmed) {
			c.ok(err)
			break
		}
		first++
	}
	if first > max(snap.Position, 1) {
		c.t.Errorf("instrument %d: trimmed up to %d, the snapshot is at %d", inst, first-1, snap.Position)
	}
	log := pipeline.NewLog(j) // it checks the hashes
	for pos := first; pos <= head.Position; {
		items, err := log.Read(c.ctx, inst, pos, 100)
		c.ok(err)
		if len(items) == 0 {
			c.t.Fatalf("instrument %d: item %d of %d is not there", inst, pos, head.Position)
		}
		for _, item := range items {
			if want := pipeline.AppendBatch(nil, batch(inst, pos)); string(want) != string(item.Data()) {
				c.t.Errorf("instrument %d: item %d is damaged", inst, pos)
			}
			if pos == head.Position && item.Head() != head {
				c.t.Errorf("instrument %d: item %d is not the head", inst, pos)
			}
			pos++
		}
	}
}

func (c *checker) trades(inst exchange.InstrumentID) {
	s := c.s.TradeStore()
	at, err := s.Recorded(c.ctx, inst)
	c.ok(err)
	c.least(recorded, inst, at)
	trades, err := s.Trades(c.ctx, pipeline.TradeQuery{Instrument: inst, Limit: pipeline.MaxQueryRows})
	c.ok(err)
	if len(trades) != min(int(at), pipeline.MaxQueryRows) {
		c.t.Errorf("instrument %d: %d trades, recorded up to %d", inst, len(trades), at)
	}
	for i := range trades {
		if want := record(inst, at-pipeline.Position(i)).Trades[0]; trades[i] != want {
			c.t.Errorf("instrument %d: trade %+v, expected %+v", inst, trades[i], want)
		}
	}
	for pos := max(at, 200) - 199; pos <= at; pos++ {
		want := record(inst, pos).Orders[0]
		if pos < at {
			want.Status = pipeline.OrderFilled
		}
		got, err := s.OrderByCommand(c.ctx, want.CommandID)
		c.ok(err)
		if got != want {
			c.t.Errorf("instrument %d: order %+v, expected %+v", inst, got, want)
		}
		if got, err = s.OrderByID(c.ctx, inst, want.OrderID); err != nil || got != want {
			c.t.Errorf("instrument %d: order by id: %+v, %v, expected %+v", inst, got, err, want)
		}
	}
	if _, err := s.OrderByCommand(c.ctx, orderID(inst, at+1)); !errors.Is(err, pipeline.ErrNotFound) {
		c.t.Errorf("instrument %d: the order behind the last: %v", inst, err)
	}
}

// balances compares every amount with what follows from the cursors.
func (c *checker) balances() {
	b := c.s.Balances()
	var want [accounts + 1]exchange.Balance
	var orders [accounts + 1]int64
	funded := c.reached[said{what: held, inst: 1}] > 0
	for acct := exchange.AccountID(1); acct <= accounts; acct++ {
		a, err := b.Account(c.ctx, acct)
		c.ok(err)
		if len(a.Balances) > 0 || funded {
			want[acct].Available = funds
		}
	}
	for inst := exchange.InstrumentID(1); inst <= instruments; inst++ {
		at, err := b.Settled(c.ctx, inst)
		c.ok(err)
		c.least(settled, inst, at)
		for pos := pipeline.Position(1); pos <= at; pos++ {
			want[payer(inst, pos)].Available -= price(pos)
			want[payee(inst, pos)].Available += price(pos) - 1
		}
		fees, err := b.Venue(c.ctx, inst)
		c.ok(err)
		if at > 0 && (len(fees) != 1 || fees[0].Available != exchange.Amount(at)) {
			c.t.Errorf("instrument %d: fees %+v, settled up to %d", inst, fees, at)
		}
		// At most the order behind the last may be held for.
		next := holdFor(inst, at+1)
		h, err := b.HoldByID(c.ctx, next.Account, next.ID)
		switch {
		case errors.Is(err, pipeline.ErrNotFound):
			c.least(held, inst, at)
		case err != nil:
			c.t.Fatal(err)
		case h != pipeline.HoldRecord{Hold: next, State: pipeline.HoldPlaced, Remaining: next.Amount}:
			c.t.Errorf("instrument %d: hold %+v, expected %+v", inst, h, next)
		default:
			want[next.Account].Available -= next.Amount
			want[next.Account].Held += next.Amount
			orders[next.Account]++
		}
		if at > 0 {
			last := holdFor(inst, at)
			if err := b.Hold(c.ctx, last); !errors.Is(err, pipeline.ErrHoldEnded) {
				c.t.Errorf("instrument %d: holding for order %d again: %v", inst, at, err)
			}
		}
	}
	for acct := exchange.AccountID(1); acct <= accounts; acct++ {
		a, err := b.Account(c.ctx, acct)
		c.ok(err)
		var got exchange.Balance
		if len(a.Balances) > 0 {
			got = a.Balances[0].Balance
		}
		if got != want[acct] || a.OpenOrders != orders[acct] {
			c.t.Errorf("account %d: %+v with %d orders, expected %+v with %d", acct, got, a.OpenOrders, want[acct], orders[acct])
		}
	}
}
