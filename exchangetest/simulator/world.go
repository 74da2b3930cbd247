package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// Config is one schedule.
type Config struct {
	Seed     uint64
	Requests int  // of clients; 0: DefaultRequests
	Plant    Bug  // a mistake planted into a port, 0: none
	Trace    bool // log every step with t.Log-like lines in Report.Trace
}

// DefaultRequests is how many requests the clients of a schedule send.
const DefaultRequests = 200

// Bounds of one schedule.
const (
	maxSteps    = 200_000 // actions before a schedule counts as stuck
	maxNesting  = 2       // processes interrupted by one another
	maxTrace    = 20_000
	drainRounds = 4 // passes of the sweeper once the faults have stopped
)

// Report is what one schedule did.
type Report struct {
	Commands int             // entries of the journals
	Trades   int             //
	Items    int             // of the journals
	Faults   map[string]int  // by kind
	Points   map[string]bool // crash points met; true: a process crashed there
	Steps    int
	Trace    []string
}

// crash is what a process dies of.
type crash struct{ process string }

// errInjected is the error of a call that failed because the schedule says so.
var errInjected = errors.New("injected fault")

// world is everything of one schedule.
type world struct {
	cfg    Config
	rng    *rand.Rand
	now    exchange.Time
	faulty bool
	// plan is how likely each fault is, in thousandths; drawn per schedule, so
	// that some schedules are calm but for one kind.
	plan plan

	insts    []*exchange.Instrument
	journal  *memory.Journal
	books    *memory.BookStore
	balances *memory.Balances
	queue    *memory.Queue
	trades   *memory.TradeStore
	archive  *memory.Archive
	bus      bus
	wire     wire
	clients  *clients
	trimmed  map[exchange.InstrumentID][]pipeline.Item
	slow     map[string]exchange.Time // by port: until when it takes nothing
	logger   *slog.Logger

	processes []*process
	depth     int // of nesting
	report    Report
	broken    error // the first violation seen on the way
	planted   planted
}

type plan struct {
	fail, lostAck, crash, nest, repeat, delay, drop, partial, forget, rollback, throttle int
}

// Run runs one schedule. The error says what was violated, or that the
// schedule did not drain; it begins with the seed.
func Run(cfg Config) (report Report, err error) {
	w, err := newWorld(cfg)
	if err != nil {
		return Report{}, err
	}
	ctx := context.Background()
	err = w.run(ctx)
	if err == nil {
		err = w.check(ctx)
	}
	if err != nil {
		err = fmt.Errorf("seed %d: %w", cfg.Seed, err)
	}
	return w.report, err
}

func newWorld(cfg Config) (*world, error) {
	if cfg.Requests == 0 {
		cfg.Requests = DefaultRequests
	}
	w := &world{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x5eed)), now: 1_700_000_000_000_000_000, faulty: true, trimmed: map[exchange.InstrumentID][]pipeline.Item{}, slow: map[string]exchange.Time{}}
	w.report.Faults, w.report.Points = map[string]int{}, map[string]bool{}
	w.logger = slog.New(slog.DiscardHandler)
	w.drawPlan()
	var err error
	if w.insts, err = instruments(); err != nil {
		return nil, err
	}
	clock := func() time.Time { return time.Unix(0, int64(w.now)) }
	w.journal, w.books, w.trades, w.archive = memory.NewJournal(), memory.NewBookStore(), memory.NewTradeStore(), memory.NewArchive()
	w.balances = memory.NewBalances(memory.BalancesConfig{})
	w.queue = memory.NewQueue(memory.QueueConfig{Now: clock, Visibility: time.Duration(visibility), DedupSpan: time.Duration(queueDedup)})
	w.wire.init(w)
	w.planted.init(w)
	if err := w.startProcesses(); err != nil {
		return nil, err
	}
	w.clients = newClients(w)
	return w, nil
}

// drawPlan gives each kind of fault a likelihood of its own: often none, so
// that the others are seen alone as well.
func (w *world) drawPlan() {
	draw := func(most int) int {
		if w.rng.IntN(3) == 0 {
			return 0
		}
		return 1 + w.rng.IntN(most)
	}
	w.plan = plan{fail: draw(40), lostAck: draw(40), crash: draw(25), nest: draw(120), repeat: draw(150),
		delay: draw(200), drop: draw(100), partial: draw(150), forget: draw(20), rollback: draw(20), throttle: draw(20)}
}

// chance reports whether a fault with n thousandths happens, and counts it.
func (w *world) chance(kind string, n int) bool {
	if !w.faulty || n == 0 || w.rng.IntN(1000) >= n {
		return false
	}
	w.report.Faults[kind]++
	return true
}

func (w *world) trace(format string, args ...any) {
	if w.cfg.Trace && len(w.report.Trace) < maxTrace {
		w.report.Trace = append(w.report.Trace, fmt.Sprintf(format, args...))
	}
}

// violated notes the first thing that must not be.
func (w *world) violated(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.trace("VIOLATED: %v", w.broken)
	}
}

// process is a service where it runs: it can die and be started again, without
// what it had in memory.
type process struct {
	name  string
	start func(p *process) error
	// act does one thing when there is something to do, and reports whether
	// there was.
	act  func(ctx context.Context) (bool, error)
	busy bool // further down the stack: it was interrupted
}

// run lets the clients send what they have to send while the processes work,
// then stops the faults and waits until nothing is left to do.
func (w *world) run(ctx context.Context) error {
	for w.clients.left() {
		if err := w.step(ctx); err != nil {
			return err
		}
		if w.rng.IntN(2) == 0 {
			w.clients.act(ctx)
		} else {
			w.work(ctx)
		}
	}
	for range 3 * len(w.processes) { // a last while with faults
		if err := w.step(ctx); err != nil {
			return err
		}
		w.work(ctx)
	}
	w.faulty = false
	w.planted.calm()
	return w.drain(ctx)
}

func (w *world) step(ctx context.Context) error {
	if w.report.Steps++; w.report.Steps > maxSteps {
		return fmt.Errorf("stuck: %d steps", w.report.Steps)
	}
	w.now += exchange.Time(w.rng.IntN(int(20 * time.Millisecond)))
	if w.rng.IntN(400) == 0 {
		w.now += exchange.Time(w.rng.IntN(int(2 * visibility)))
	}
	switch {
	case w.chance("book store lost", w.plan.forget):
		w.books = memory.NewBookStore()
		w.wire.older = nil
	case w.chance("book store rolled back", w.plan.rollback):
		w.wire.rollBack(ctx)
	}
	return w.broken
}

// work lets one process that is not at work do one thing.
func (w *world) work(ctx context.Context) bool {
	p := w.processes[w.rng.IntN(len(w.processes))]
	return !p.busy && w.let(ctx, p)
}

// let runs one action of a process. A crash ends the action and the process's
// memory.
func (w *world) let(ctx context.Context, p *process) (did bool) {
	p.busy = true
	w.depth++
	defer func() {
		w.depth--
		p.busy = false
		if r := recover(); r != nil {
			c, ok := r.(crash)
			if !ok || c.process != p.name {
				panic(r)
			}
			w.trace("%s crashed", p.name)
			did = true
			if err := p.start(p); err != nil {
				w.violated("starting %s again: %w", p.name, err)
			}
		}
	}()
	did, err := p.act(ctx)
	if err != nil && !w.faulty && !errors.Is(err, errInjected) {
		w.violated("%s fails without a fault: %w", p.name, err)
	}
	if err != nil {
		w.trace("%s: %v", p.name, err)
	}
	return did
}

// call is one call of a port by a process: where every fault happens. effect
// tells calls that change something from reads.
func (w *world) call(p *process, op string, effect bool, fn func() error) error {
	if !w.faulty {
		return fn()
	}
	point := p.name + " " + op
	w.meet(point + " before")
	if w.depth < maxNesting && w.chance("interrupted", w.plan.nest) {
		w.trace("%s interrupted before %s", p.name, op)
		for range 1 + w.rng.IntN(3) {
			w.work(context.Background())
		}
	}
	if w.chance("crash", w.plan.crash) {
		w.die(p, point+" before")
	}
	if w.throttled(op) {
		return fmt.Errorf("%s is throttled: %w", op, errInjected)
	}
	if w.chance("failed call", w.plan.fail) {
		return fmt.Errorf("%s: %w", op, errInjected)
	}
	if err := fn(); err != nil || !effect {
		return err
	}
	w.meet(point + " after")
	if w.chance("crash", w.plan.crash) {
		w.die(p, point+" after")
	}
	if w.chance("lost acknowledgement", w.plan.lostAck) {
		return fmt.Errorf("%s took effect, but: %w", op, errInjected)
	}
	return nil
}

// throttled reports whether a call's port takes nothing now, for anybody: it
// may have begun to just now.
func (w *world) throttled(op string) bool {
	port, _, _ := strings.Cut(op, ".")
	if w.chance("port throttled for a while", w.plan.throttle) {
		w.slow[port] = w.now + 1 + exchange.Time(w.pick(int(throttling)))
	}
	return w.now < w.slow[port]
}

func (w *world) meet(point string) {
	if !w.report.Points[point] {
		w.report.Points[point] = false
	}
}

func (w *world) die(p *process, point string) {
	w.report.Points[point] = true
	w.trace("crash: %s", point)
	panic(crash{p.name})
}

// drain runs everything without faults until there is nothing left to do. Time
// is taken far enough for what waits: messages that nobody acknowledged, holds
// without orders.
func (w *world) drain(ctx context.Context) error {
	for range drainRounds {
		if err := w.settle(ctx); err != nil {
			return err
		}
		w.now += visibility + orphanAfter + exchange.Time(time.Second)
		w.let(ctx, w.processOf(sweeperName))
	}
	return w.settle(ctx)
}

// settle lets everybody but the sweeper work until nobody finds anything to do.
func (w *world) settle(ctx context.Context) error {
	for did := true; did; {
		did = false
		w.wire.due()
		for _, p := range w.processes {
			if w.report.Steps++; w.report.Steps > maxSteps {
				return fmt.Errorf("stuck while draining: %d steps", w.report.Steps)
			}
			if p.name != sweeperName && w.let(ctx, p) {
				did = true
			}
			if w.broken != nil {
				return w.broken
			}
		}
	}
	return nil
}

func (w *world) processOf(name string) *process {
	for _, p := range w.processes {
		if p.name == name {
			return p
		}
	}
	panic("no process " + name)
}

func (w *world) pick(n int) int { return w.rng.IntN(n) }

// instrumentOf returns an instrument of the schedule.
func (w *world) instrumentOf(id exchange.InstrumentID) *exchange.Instrument {
	for _, in := range w.insts {
		if in.ID() == id {
			return in
		}
	}
	return nil
}

var _ pipeline.Publisher = (*publisher)(nil)
