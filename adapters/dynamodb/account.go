package dynamodb

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// account is an account's item: all its balances and how far it is settled with
// each instrument, so that one conditional write changes both.
type account struct {
	id          exchange.AccountID
	revision    uint64 // of the item; 0: there is none
	state       exchange.AccountState
	killed      bool
	limits      pipeline.AccountLimits
	openOrders  int64
	windowStart exchange.Time
	messages    int64                   // in the window that began then; 0: none began
	balances    []pipeline.AssetBalance // by asset
	version     uint64                  // counts their changes
	settled     map[exchange.InstrumentID]pipeline.Position
}

// Attributes whose names end in a number.
const (
	prefixAvailable = "a#" // asset
	prefixHeld      = "h#" // asset
	prefixSettled   = "s#" // instrument
)

func readAccount(id exchange.AccountID, it item) (*account, error) {
	f := fields{item: it}
	a := &account{id: id, settled: map[exchange.InstrumentID]pipeline.Position{},
		revision: f.uint("r", 64), state: exchange.AccountState(f.uint("state", 8)), killed: f.bool("killed"),
		limits:     pipeline.AccountLimits{MaxOpenOrders: f.int("maxOpenOrders"), MaxMessages: f.int("maxMessages"), MessageWindow: exchange.Time(f.int("messageWindow")), MaxHolding: exchange.Amount(f.int("maxHolding"))},
		openOrders: f.int("openOrders"), windowStart: exchange.Time(f.int("windowStart")), messages: f.int("messages"), version: f.uint("v", 64)}
	for name := range it {
		if digits, ok := strings.CutPrefix(name, prefixSettled); ok {
			a.settled[exchange.InstrumentID(f.suffix(name, digits))] = pipeline.Position(f.uint(name, 64))
		}
	}
	a.balances = readBalances(&f)
	if f.err != nil {
		return nil, fmt.Errorf("account: %w", f.err)
	}
	return a, nil
}

// suffix reads the number at the end of an attribute's name.
func (f *fields) suffix(name, digits string) uint32 {
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		f.fault(name, err)
	}
	return uint32(n)
}

// readBalances reads what an item has of each asset.
func readBalances(f *fields) (out []pipeline.AssetBalance) {
	for name := range f.item {
		if digits, ok := strings.CutPrefix(name, prefixAvailable); ok {
			out = append(out, pipeline.AssetBalance{Asset: exchange.AssetID(f.suffix(name, digits)),
				Balance: exchange.Balance{Available: exchange.Amount(f.int(name)), Held: exchange.Amount(f.int(prefixHeld + digits))}})
		}
	}
	slices.SortFunc(out, func(a, b pipeline.AssetBalance) int { return cmp.Compare(a.Asset, b.Asset) })
	return out
}

func numbered[T ~uint32](prefix string, n T) string {
	return prefix + strconv.FormatUint(uint64(n), 10)
}

// writeAccount writes the account unless it has changed since it was read.
func (b *Balances) writeAccount(a *account) types.TransactWriteItem {
	it := accountKey(a.id).item()
	it["r"] = unum(a.revision + 1)
	setU(it, "state", a.state)
	setBool(it, "killed", a.killed)
	set(it, "maxOpenOrders", a.limits.MaxOpenOrders)
	set(it, "maxMessages", a.limits.MaxMessages)
	set(it, "messageWindow", a.limits.MessageWindow)
	set(it, "maxHolding", a.limits.MaxHolding)
	set(it, "openOrders", a.openOrders)
	set(it, "windowStart", a.windowStart)
	set(it, "messages", a.messages)
	setU(it, "v", a.version)
	for i := range a.balances {
		have := &a.balances[i]
		it[numbered(prefixAvailable, have.Asset)] = num(have.Available)
		set(it, numbered(prefixHeld, have.Asset), have.Held)
	}
	for inst, pos := range a.settled {
		it[numbered(prefixSettled, inst)] = unum(pos)
	}
	return b.putRevision(it, a.revision)
}

// putRevision puts an item that has a revision, unless another one is there.
func (s *store) putRevision(it item, revision uint64) types.TransactWriteItem {
	if revision == 0 {
		return s.put(it, absent, nil, nil)
	}
	return s.put(it, "r = :r", nil, item{":r": unum(revision)})
}

func (a *account) view() pipeline.Account {
	return pipeline.Account{ID: a.id, State: a.state, Killed: a.killed, Limits: a.limits, OpenOrders: a.openOrders, Balances: a.balances, Version: a.version}
}

// find returns where the balance of an asset is, or belongs.
func find(balances []pipeline.AssetBalance, asset exchange.AssetID) (int, bool) {
	return slices.BinarySearchFunc(balances, asset, func(b pipeline.AssetBalance, asset exchange.AssetID) int { return cmp.Compare(b.Asset, asset) })
}

// of returns the balance of an asset, zero when there is none.
func (a *account) of(asset exchange.AssetID) exchange.Balance {
	if i, ok := find(a.balances, asset); ok {
		return a.balances[i].Balance
	}
	return exchange.Balance{}
}

// add changes the balance of an asset, which it makes.
func (a *account) add(asset exchange.AssetID, available, held exchange.Amount) {
	i, ok := find(a.balances, asset)
	if !ok {
		a.balances = slices.Insert(a.balances, i, pipeline.AssetBalance{Asset: asset})
	}
	a.balances[i].Available += available
	a.balances[i].Held += held
	a.version++
}

// fits reports whether n + delta lies between 0 and 2^63-1; n does.
func fits(n, delta exchange.Amount) bool {
	return delta <= math.MaxInt64-n && n+delta >= 0
}

// takes reports whether changes leave a balance between 0 and 2^63-1.
func (a *account) takes(asset exchange.AssetID, available, held exchange.Amount) error {
	if have := a.of(asset); !fits(have.Available, available) || !fits(have.Held, held) {
		return fmt.Errorf("%w: asset %d: available %d %+d, held %d %+d", pipeline.ErrInvalid, asset, have.Available, available, have.Held, held)
	}
	return nil
}

// check is what an account says to a hold. It counts the message.
func (a *account) check(h *pipeline.Hold) error {
	switch {
	case a.state > exchange.AccountActive:
		return exchange.AccountNotActive
	case a.killed:
		return exchange.KillSwitchEngaged
	case !a.count(h.Time):
		return exchange.MessageRate
	case h.NewOrder && a.limits.MaxOpenOrders > 0 && a.openOrders >= a.limits.MaxOpenOrders:
		return exchange.MaxOpenOrders
	case a.overHolding(h):
		return exchange.MaxPosition
	}
	if have := a.of(h.Asset); have.Available < h.Amount || have.Held > math.MaxInt64-h.Amount {
		return exchange.InsufficientFunds
	}
	return nil
}

// count counts a message, unless that is one too many.
func (a *account) count(now exchange.Time) bool {
	if a.limits.MaxMessages == 0 || a.limits.MessageWindow == 0 {
		a.messages = 0
		return true
	}
	// Without a sign the difference of any two times fits.
	if a.messages == 0 || now > a.windowStart && uint64(now)-uint64(a.windowStart) >= uint64(a.limits.MessageWindow) {
		a.windowStart, a.messages = now, 0
	}
	if a.messages >= a.limits.MaxMessages {
		return false
	}
	a.messages++
	return true
}

// overHolding reports whether what the order brings is too much.
func (a *account) overHolding(h *pipeline.Hold) bool {
	if a.limits.MaxHolding == 0 || h.Gain <= 0 {
		return false
	}
	have, room := a.of(h.GainAsset), a.limits.MaxHolding
	// One after the other, so that nothing overflows.
	for _, n := range [...]exchange.Amount{have.Available, have.Held, h.Gain} {
		if n > room {
			return true
		}
		room -= n
	}
	return false
}

// place takes what a hold sets aside.
func (a *account) place(h *pipeline.Hold) {
	if h.Amount > 0 {
		a.add(h.Asset, -h.Amount, h.Amount)
	}
	if h.NewOrder {
		a.openOrders++
	}
}
