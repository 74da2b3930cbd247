package exchange

import (
	"math/bits"

	"github.com/tidwall/btree"
)

// Funds says who keeps the funds of orders. It is fixed when an Engine is
// made.
type Funds uint8

// The modes of funds.
const (
	FundsNone   Funds = 1 // nobody: matching and limits only, no fees
	FundsLedger Funds = 2 // the engine owns every account: it holds, settles and releases
	FundsHeld   Funds = 3 // somebody else: a command carries what is held for it, events say what to settle and release
)

// Balance is what an account has of an asset.
type Balance struct {
	Available Amount
	Held      Amount // for its live orders
}

// Position is an account's part in an instrument.
type Position struct {
	Net      Qty // bought less sold
	OpenBuy  Qty // open quantity of its live buys
	OpenSell Qty
	Orders   int // live orders
}

// Bounds of the ledger.
const (
	maxTotal    Amount = 1<<63 - 1
	maxPosition Qty    = 1 << 61
	// rebateRoom is what all accounts may have together where rebates are
	// paid: one command can at most treble it (FUNDS-009).
	rebateRoom Amount = 1 << 61
)

// risk is what an Engine knows of accounts; its Matchers share it.
type risk struct {
	mode        Funds
	engine      *Engine
	accounts    slab[account]
	byAccount   index
	maxAccounts int
	balances    slab[balance]
	byBalance   index
	assets      []assetTotal         // by AssetID
	limits      *btree.BTreeG[limit] // in the order of limitKey
	killed      bool                 // everything
	suspended   int                  // accounts in AccountSuspended
}

type account struct {
	id          AccountID
	state       AccountState
	killed      bool
	messages    int64 // within the window that began at since
	since       Time
	maxMessages int64 // noLimit: none
	window      Time  // 0: none
}

type balance struct {
	account AccountID
	asset   AssetID
	Balance
}

type assetTotal struct {
	asset Asset  // ID 0: unknown
	total Amount // deposits less withdrawals
	users Amount // what all accounts but 0 have
}

// seat is an account in an instrument: what an order message looks at. The
// first cache line is enough without limits of one order.
type seat struct {
	account     AccountID
	net         Qty
	open        [2]Qty // by Side, see side
	maxPosition Qty
	pays        [2]ref // by Side: the balance an order pays from, in FundsLedger
	orders      int32
	maxOrders   int32
	acct        ref
	watched     bool // the gate must look closer
	sized       bool // maxQty or maxNotional is set
	killed      bool

	maxQty      Qty
	maxNotional Amount
	_           [48]byte // two lines
}

// index is where an array of two by Side has a side. It needs no check of
// bounds, nor a branch: a side is anybody's guess.
func (s Side) index() int { return int(s & 1) }

// seats are found by account through a table with linear probing, which is a
// quarter full at most: nearly always the first probe finds. Seats stay, so
// nothing is ever removed.
type seats struct {
	slab[seat]
	slots []ref
	shift uint8 // of a hash, so that a slot's index is left
}

const seatsMinSlots = 64

// find returns an account's seat; 0 and nil when it has none.
func (s *seats) find(id AccountID) (ref, *seat) {
	if len(s.slots) == 0 {
		return 0, nil
	}
	for i := s.home(id); ; i++ {
		r := s.slots[i&uint64(len(s.slots)-1)]
		if r == 0 {
			return 0, nil
		}
		if at := s.at(r); at.account == id {
			return r, at
		}
	}
}

// home is the slot where an account belongs: accounts numbered in sequence
// spread evenly.
func (s *seats) home(id AccountID) uint64 { return uint64(id) * 0x9e3779b97f4a7c15 >> s.shift }

// add makes a seat for an account that has none.
func (s *seats) add(id AccountID) ref {
	r := s.alloc()
	*s.at(r) = seat{account: id}
	if 4*int(r) > len(s.slots) {
		s.slots = make([]ref, max(seatsMinSlots, 2*len(s.slots)))
		s.shift = uint8(64 - bits.TrailingZeros(uint(len(s.slots))))
		for old := ref(1); old < r; old++ {
			s.place(old)
		}
	}
	s.place(r)
	return r
}

func (s *seats) place(r ref) {
	i := s.home(s.at(r).account)
	for s.slots[i&uint64(len(s.slots)-1)] != 0 {
		i++
	}
	s.slots[i&uint64(len(s.slots)-1)] = r
}

func (k *risk) account(id AccountID) ref {
	h := mix(uint64(id))
	at := h
	for r := k.byAccount.next(h, &at); r != 0; r = k.byAccount.next(h, &at) {
		if k.accounts.at(r).id == id {
			return r
		}
	}
	return 0
}

// openAccount returns the account, made when there is room; 0 when not.
func (k *risk) openAccount(id AccountID) ref {
	if r := k.account(id); r != 0 {
		return r
	}
	if k.byAccount.n >= k.maxAccounts {
		return 0
	}
	r := k.accounts.alloc()
	*k.accounts.at(r) = account{id: id, state: AccountActive}
	k.byAccount.put(mix(uint64(id)), r)
	k.resolveAccount(k.accounts.at(r))
	return r
}

func balanceHash(acct AccountID, asset AssetID) uint32 {
	return mix(uint64(acct) ^ uint64(asset)<<47)
}

func (k *risk) balance(acct AccountID, asset AssetID) ref {
	h := balanceHash(acct, asset)
	at := h
	for r := k.byBalance.next(h, &at); r != 0; r = k.byBalance.next(h, &at) {
		if b := k.balances.at(r); b.account == acct && b.asset == asset {
			return r
		}
	}
	return 0
}

func (k *risk) openBalance(acct AccountID, asset AssetID) ref {
	if r := k.balance(acct, asset); r != 0 {
		return r
	}
	r := k.balances.alloc()
	*k.balances.at(r) = balance{account: acct, asset: asset}
	k.byBalance.put(balanceHash(acct, asset), r)
	return r
}

// openSeat returns the account's seat, made when there is room; 0 when not.
func (k *risk) openSeat(m *Matcher, id AccountID) ref {
	if r, _ := m.seats.find(id); r != 0 {
		return r
	}
	acct := k.openAccount(id)
	if acct == 0 {
		return 0
	}
	r := m.seats.add(id)
	s := m.seats.at(r)
	s.acct = acct
	if k.mode == FundsLedger {
		s.pays[Sell.index()] = k.openBalance(id, m.book.inst.spec.Base.ID)
		s.pays[Buy.index()] = k.openBalance(id, m.book.inst.spec.Quote.ID)
	}
	k.resolveSeat(m, s)
	return r
}

// gate is the part of CMD-006 that concerns the account.
func (k *risk) gate(m *Matcher, id AccountID, seat *ref) Reason {
	r, s := m.seats.find(id)
	if r == 0 {
		if r = k.openSeat(m, id); r == 0 {
			return TooManyAccounts
		}
		s = m.seats.at(r)
	}
	*seat = r
	if s.watched {
		return k.gateWatched(m, s)
	}
	return 0
}

func (k *risk) gateWatched(m *Matcher, s *seat) Reason {
	a := k.accounts.at(s.acct)
	switch {
	case a.state != AccountActive:
		return AccountNotActive
	case k.killed || a.killed || s.killed:
		return KillSwitchEngaged
	case a.limited():
		return a.count(m.now)
	}
	return 0
}

func (k *risk) setState(a *account, state AccountState) {
	if a.state == AccountSuspended {
		k.suspended--
	}
	if a.state = state; state == AccountSuspended {
		k.suspended++
	}
}

// limited reports whether the account's messages are counted.
func (a *account) limited() bool { return a.maxMessages != noLimit && a.window > 0 }

// count counts a message (RISK-006).
func (a *account) count(now Time) Reason {
	if a.messages == 0 || now-a.since >= a.window {
		a.since, a.messages = now, 0
	}
	if a.messages >= a.maxMessages {
		return MessageRate
	}
	a.messages++
	return 0
}

// gateCancel is the same for cancel and reduce.
func (k *risk) gateCancel(id AccountID) Reason {
	if k.suspended == 0 {
		return 0
	}
	if r := k.account(id); r != 0 && k.accounts.at(r).state == AccountSuspended {
		return AccountNotActive
	}
	return 0
}

// checkNew is RISK-002 to RISK-005 for a new order; old is the order it
// replaces, nil for none.
func (k *risk) checkNew(m *Matcher, cmd *Command, p *plan, old *node, held Amount) Reason {
	s := m.seats.at(p.seat)
	mayRest := cmd.Type.triggered() || cmd.Type != Market && !cmd.TimeInForce.immediate()
	if old == nil && mayRest && s.orders >= s.maxOrders {
		return MaxOpenOrders
	}
	room := s.room(cmd.Side)
	if old != nil {
		room += old.leaves
	}
	if p.qty = cmd.Qty; p.qty == 0 {
		p.qty = min(room, s.maxQty, m.book.inst.maxQty)
	}
	if p.qty > room || p.qty < 1 {
		return MaxPosition
	}
	if reason := k.userCheck(cmd); reason != 0 || k.mode == FundsNone {
		return reason
	}
	return k.checkFunds(m, cmd, p, held)
}

// room returns by how much an account may add to its open quantity on a side
// (RISK-003).
func (s *seat) room(side Side) Qty {
	net := s.net
	if side == Sell {
		net = -net
	}
	return s.maxPosition - net - s.open[side.index()]
}

func (k *risk) userCheck(cmd *Command) Reason {
	if k.engine.check == nil {
		return 0
	}
	return k.engine.check(k.engine, cmd)
}

// checkFunds is FUNDS-003 and FUNDS-006; held is what a replaced order has.
func (k *risk) checkFunds(m *Matcher, cmd *Command, p *plan, held Amount) Reason {
	if k.rebatesTooLarge(m) {
		return AmountOverflow
	}
	if !p.noLiquidity {
		if cmd.Side == Buy && cmd.Funds == 0 && p.price == 0 {
			return WorstPriceRequired
		}
		var ok bool
		if p.need, ok = m.book.inst.Need(&Terms{Side: cmd.Side, Price: p.price, LeavesQty: p.qty, Funds: cmd.Funds,
			MakerFee: m.makerFee, TakerFee: m.takerFee}); !ok {
			return InsufficientFunds
		}
	}
	if k.mode == FundsHeld {
		if p.need > cmd.Held+held || cmd.Held+held < 0 {
			return InsufficientFunds
		}
		excess := cmd.Held + held - p.need
		p.release = min(excess, cmd.Held)
		p.moved = held - (excess - p.release)
		return 0
	}
	if p.need-held > k.paying(m, p.seat, cmd.Side).Available {
		return InsufficientFunds
	}
	p.moved = min(held, p.need)
	return 0
}

// rebatesTooLarge is FUNDS-009.
func (k *risk) rebatesTooLarge(m *Matcher) bool {
	return m.rebates && k.mode == FundsLedger && k.assets[m.book.inst.spec.Quote.ID].users > rebateRoom
}

// paying returns the balance an order of this side pays from.
func (k *risk) paying(m *Matcher, seat ref, side Side) *balance {
	return k.balances.at(m.seats.at(seat).pays[side.index()])
}

// accepted counts an accepted order and takes what it needs.
func (k *risk) accepted(m *Matcher, n *node, qty Qty, p *plan) {
	s := m.seats.at(p.seat)
	s.orders++
	s.open[n.side.index()] += qty
	if k.mode == FundsLedger {
		b := k.paying(m, p.seat, n.side)
		b.Available -= p.need
		b.Held += p.need
	}
}

// trade books a trade (FUNDS-004, FEE-001) and writes the amounts into its
// event. price is the aggressor's limit or worst price.
func (k *risk) trade(m *Matcher, ev *Event, n *node, t *tail, mk *node, mt *tail, price Price) {
	s, ms := m.seats.at(n.seat), m.seats.at(mk.seat)
	signed := ev.Qty
	if n.side == Sell {
		signed = -signed
	}
	s.net += signed
	ms.net -= signed
	ms.open[mk.side.index()] -= ev.Qty
	if n.flags&flagUnsized == 0 {
		s.open[n.side.index()] -= ev.Qty
	}
	if k.mode == FundsNone {
		return
	}
	in := m.book.inst
	base := Amount(ev.Qty) * in.lotBase
	ev.Fee, n.feeRem = feeStep(t.takerFee, ev.Amount, n.feeRem)
	ev.MakerFee, mk.feeRem = feeStep(mt.makerFee, ev.Amount, mk.feeRem)
	if n.side == Buy {
		paid := ev.Amount + ev.Fee
		n.held -= paid
		if n.flags&flagBudget != 0 {
			m.book.extras.at(n.extra).funds -= ev.Amount + max(ev.Fee, 0)
		}
		ev.Release = m.excess(n, t, price)
		n.held -= ev.Release
		mk.held -= base
		if k.mode == FundsLedger {
			k.settle(s, ms, ev, base, paid, ev.Release, ev.MakerFee)
		}
		return
	}
	paid := ev.Amount + ev.MakerFee
	mk.held -= paid
	ev.MakerRelease = m.excess(mk, mt, ev.Price)
	mk.held -= ev.MakerRelease
	n.held -= base
	if k.mode == FundsLedger {
		k.settle(ms, s, ev, base, paid, ev.MakerRelease, ev.Fee)
	}
}

// settle moves what a trade moves between the accounts of the ledger. paid is
// the notional with the buyer's fee.
func (k *risk) settle(buyer, seller *seat, ev *Event, base, paid, release, sellerFee Amount) {
	inBase, inQuote := Sell.index(), Buy.index() // what a seller and a buyer pay with
	quote := k.balances.at(buyer.pays[inQuote])
	quote.Held -= paid + release
	quote.Available += release
	k.balances.at(buyer.pays[inBase]).Available += base
	k.balances.at(seller.pays[inBase]).Held -= base
	k.balances.at(seller.pays[inQuote]).Available += ev.Amount - sellerFee
	if fees := ev.Fee + ev.MakerFee; fees != 0 {
		k.balances.at(k.openBalance(0, quote.asset)).Available += fees
		k.assets[quote.asset].users -= fees
	}
}

// need returns what an order needs at a price (FUNDS-001). Its funds must
// count what it has spent.
func (m *Matcher) need(n *node, t *tail, price Price) Amount {
	if n.flags&flagBudget != 0 && n.leaves > 0 {
		return m.book.extras.at(n.extra).funds
	}
	need, _ := m.book.inst.Need(&Terms{Side: n.side, Price: price, LeavesQty: n.leaves,
		MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem})
	return need // it fitted on entry, and only shrinks
}

// excess returns what is held beyond the need.
func (m *Matcher) excess(n *node, t *tail, price Price) Amount { return n.held - m.need(n, t, price) }

// cover releases what is held beyond the need at a price and returns it.
func (k *risk) cover(m *Matcher, r ref, n *node, price Price) Amount {
	if k.mode == FundsNone {
		return 0
	}
	t := m.book.tail(r, n)
	return k.give(m, n, m.excess(n, t, price))
}

// give takes an amount out of an order's hold.
func (k *risk) give(m *Matcher, n *node, amount Amount) Amount {
	n.held -= amount
	if k.mode == FundsLedger {
		b := k.paying(m, n.seat, n.side)
		b.Held -= amount
		b.Available += amount
	}
	return amount
}

// lessen books that an order lost q lots without a trade and returns what
// that releases. n counts it already.
func (k *risk) lessen(m *Matcher, r ref, n *node, q Qty, price Price) Amount {
	if n.flags&flagUnsized == 0 {
		m.seats.at(n.seat).open[n.side.index()] -= q
	}
	return k.cover(m, r, n, price)
}

// end books that an order ended and returns what that releases.
func (k *risk) end(m *Matcher, r ref, n *node) Amount {
	s := m.seats.at(n.seat)
	s.orders--
	if n.flags&flagUnsized == 0 {
		s.open[n.side.index()] -= n.leaves
	}
	if k.mode == FundsNone {
		return 0
	}
	return k.give(m, n, n.held)
}

// filled books that an order was filled.
func (k *risk) filled(m *Matcher, n *node) { m.seats.at(n.seat).orders-- }
