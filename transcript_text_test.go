package exchange_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// The words of transcripts.
//
//	engine ledger maker=-10 maxorders=2   a new engine: none, ledger, held; options as in stageConfig
//	matcher dedupcount=3                  a Matcher alone
//	restore                               go on from a snapshot
//	book, orders, pending, balances, queue #3, position a1, prices, clock
//
//	a1 buy 5@100 ioc stp=newest id=x at=50    account 1, a limit order
//	a1 sell 5 market within=2 | worst=90      a distance, a worst price
//	a1 buy market funds=500                   a budget
//	a1 sell 5 mtl, a1 sell 5 stop=90, a1 sell 5@89 stop=90, a1 sell 5 take=110
//	a1 buy 5@100 show=2 hidden postonly slide min=3 fok day gtd=50 group=7 held=500
//	a1 cancel #3, a1 cancel #x (by command id), a1 reduce #3 2, a1 amend #3 4@101, a1 replace #3 @101 stop=95
//	masscancel, kill, lift, time 50, endday, reference 100, last 100, fees -10 20
//	a1 deposit 500 usd, a1 limit openorders 3, a1 state suspended, state halted
//	a1 void id=x held=500
//
// inst=2 goes to another instrument; Field=value sets any field of the
// Command, wrong values included. Numbers may be 2^k, 2^k+n, 2^k-n, -2^k.

var (
	stageBTC = exchange.Asset{ID: 1, Code: "btc"}
	stageUSD = exchange.Asset{ID: 2, Code: "usd"}
	stageETH = exchange.Asset{ID: 3, Code: "eth"}
)

// stageConfig reads the options of an engine. Its instruments are BTC-USD (1)
// and ETH-USD (2); a tick times a lot is one atom of usd, so that amounts can
// be worked out by heart. The limits belong to instrument 1.
func stageConfig(t *testing.T, options []string) (cfg exchange.Config, alone bool) {
	spec := exchange.InstrumentSpec{ID: 1, Symbol: "BTC-USD", Base: stageBTC, Quote: stageUSD, Tick: dec("1"), Lot: dec("1")}
	other := exchange.InstrumentSpec{ID: 2, Symbol: "ETH-USD", Base: stageETH, Quote: stageUSD, Tick: dec("1"), Lot: dec("1")}
	cfg.Funds = exchange.FundsNone
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		n := parseNumber(value)
		switch name {
		case "engine", "none":
		case "matcher":
			alone = true
		case "ledger":
			cfg.Funds = exchange.FundsLedger
		case "held":
			cfg.Funds = exchange.FundsHeld
		case "no13": // a check of the user's own, for RISK-004
			cfg.Check = func(_ *exchange.Engine, cmd *exchange.Command) exchange.Reason {
				if cmd.Qty == 13 {
					return exchange.ReasonUser + 13
				}
				return 0
			}
		case "dedupspan":
			cfg.DedupSpan = exchange.Time(n)
		case "dedupcount":
			cfg.DedupCount = int(n)
		case "maxorders":
			cfg.MaxOrders = int(n)
		case "maxaccounts":
			cfg.MaxAccounts = int(n)
		case "minprice":
			spec.MinPrice = dec(value)
		case "maxprice":
			spec.MaxPrice = dec(value)
		case "minqty":
			spec.MinQty = dec(value)
		case "maxqty":
			spec.MaxQty = dec(value)
		case "minnotional":
			spec.MinNotional = dec(value)
		case "maxnotional":
			spec.MaxNotional = dec(value)
		case "maker":
			spec.MakerFee = dec(value).Shift(-6)
		case "taker":
			spec.TakerFee = dec(value).Shift(-6)
		default:
			require.Fail(t, "unknown option", o)
		}
	}
	for _, sp := range []exchange.InstrumentSpec{spec, other} {
		in, err := exchange.NewInstrument(sp)
		require.NoError(t, err)
		cfg.Instruments = append(cfg.Instruments, in)
	}
	return cfg, alone
}

var verbs = map[string]exchange.CommandKind{
	"buy": exchange.KindNewOrder, "sell": exchange.KindNewOrder, "cancel": exchange.KindCancel, "reduce": exchange.KindReduce,
	"amend": exchange.KindAmend, "replace": exchange.KindReplace, "masscancel": exchange.KindMassCancel, "kill": exchange.KindKill,
	"lift": exchange.KindLiftKill, "time": exchange.KindAdvanceTime, "endday": exchange.KindEndDay, "reference": exchange.KindReferencePrice,
	"last": exchange.KindLastPrice, "deposit": exchange.KindDeposit, "withdraw": exchange.KindWithdraw, "limit": exchange.KindLimit,
	"fees": exchange.KindFees, "state": exchange.KindInstrumentState,
	"void": exchange.KindVoid, "nothing": 0,
}

var limitNames = []string{"", "openorders", "position", "orderqty", "ordernotional", "messages", "window", "minprice", "maxprice", "collarup", "collardown"}

// parseNumber reads 12, -12, 2^60, -2^63, 2^60+1, 2^63-1; anything else is 0.
func parseNumber(s string) int64 {
	digits, negative := strings.CutPrefix(s, "-")
	power, ok := strings.CutPrefix(digits, "2^")
	if !ok {
		n, _ := strconv.ParseInt(s, 10, 64)
		return n
	}
	add := int64(0)
	if i := strings.IndexAny(power, "+-"); i > 0 {
		add, power = parseNumber(strings.TrimPrefix(power[i:], "+")), power[:i]
	}
	n := int64(1)<<parseNumber(power) + add // wraps as int64 does
	if negative {
		return -n
	}
	return n
}

func commandID(name string) (id exchange.CommandID) {
	copy(id[:], name)
	return id
}

// parseCommand reads a command in the words above.
func parseCommand(words []string) (c exchange.Command, err error) {
	c.Instrument = 1
	if n, ok := strings.CutPrefix(words[0], "a"); ok && len(words) > 1 && n != "" && strings.Trim(n, "0123456789") == "" {
		c.Account = exchange.AccountID(parseNumber(n))
		words = words[1:]
	}
	kind, ok := verbs[words[0]]
	if !ok {
		return c, fmt.Errorf("unknown command %q", words[0])
	}
	c.Kind = kind
	switch {
	case words[0] == "state" && c.Account != 0:
		c.Kind, c.Instrument = exchange.KindAccountState, 0
	case kind == exchange.KindDeposit || kind == exchange.KindWithdraw:
		c.Instrument = 0
	case kind == exchange.KindNewOrder:
		c.Type, c.TimeInForce = exchange.Limit, exchange.GTC
		c.Side = exchange.Side(1 + slices.Index([]string{"buy", "sell"}, words[0]))
	}
	priced := false
	var numbers []int64
	for _, w := range words[1:] {
		if qty, price, ok := strings.Cut(w, "@"); ok {
			c.Qty, c.Price, priced = exchange.Qty(parseNumber(qty)), exchange.Price(parseNumber(price)), true
		} else if w[0] == '-' || w[0] >= '0' && w[0] <= '9' {
			numbers = append(numbers, parseNumber(w))
		} else if !parseWord(&c, w) && !parseField(&c, w) {
			return c, fmt.Errorf("unknown word %q", w)
		}
	}
	if priced && (c.Type == exchange.Stop || c.Type == exchange.TakeProfit) {
		c.Type++ // the limit variant
	}
	if len(numbers) == 0 {
		return c, nil
	}
	n := numbers[0]
	switch kind {
	case exchange.KindAdvanceTime:
		c.Time = exchange.Time(n)
	case exchange.KindReferencePrice, exchange.KindLastPrice:
		c.Price = exchange.Price(n)
	case exchange.KindDeposit, exchange.KindWithdraw:
		c.Funds = exchange.Amount(n)
	case exchange.KindLimit:
		c.Value = n
	case exchange.KindFees:
		c.MakerFee, c.TakerFee = exchange.FeeRate(n), exchange.FeeRate(numbers[1])
	default:
		c.Qty = exchange.Qty(n)
	}
	return c, nil
}

var tifWords = []string{"", "gtc", "day", "gtd", "ioc", "fok"}

// parseWord reads one word of a command.
func parseWord(c *exchange.Command, word string) bool {
	name, value, _ := strings.Cut(word, "=")
	n := parseNumber(value)
	if i := slices.Index(tifWords, name); i > 0 {
		c.TimeInForce, c.Expire = exchange.TimeInForce(i), exchange.Time(n)
		return true
	}
	if i := slices.Index(limitNames, name); i > 0 {
		c.Limit = exchange.LimitKind(i)
		return true
	}
	switch name {
	case "market":
		c.Type, c.TimeInForce = exchange.Market, exchange.IOC
	case "mtl":
		c.Type = exchange.MarketToLimit
	case "stop", "take":
		if c.StopPrice = exchange.Price(n); c.Kind == exchange.KindNewOrder {
			c.Type = exchange.Stop
			if name == "take" {
				c.Type = exchange.TakeProfit
			}
		}
	case "worst":
		c.Price = exchange.Price(n)
	case "within":
		c.Price, c.PriceIsDistance = exchange.Price(n), true
	case "funds":
		c.Funds = exchange.Amount(n)
	case "held":
		c.Held = exchange.Amount(n)
	case "show":
		c.DisplayQty = exchange.Qty(n)
	case "min":
		c.MinQty = exchange.Qty(n)
	case "hidden":
		c.Hidden = true
	case "postonly":
		c.PostOnly = exchange.PostOnlyReject
	case "slide":
		c.PostOnly = exchange.PostOnlySlide
	case "stp":
		c.SelfTrade = exchange.SelfTradePrevention(1 + slices.Index([]string{"newest", "oldest", "both", "decrement"}, value))
	case "group":
		c.Group = uint32(n)
	case "id":
		c.ID = commandID(value)
	case "at":
		c.Time = exchange.Time(n)
	case "inst":
		c.Instrument = exchange.InstrumentID(n)
	case "buys", "sells":
		c.Side = exchange.Side(1 + slices.Index([]string{"buys", "sells"}, name))
	case "btc", "usd", "eth":
		c.Asset = exchange.AssetID(1 + slices.Index([]string{"btc", "usd", "eth"}, name))
	case "active", "cancelonly", "suspended":
		c.AccountState = exchange.AccountState(1 + slices.Index([]string{"active", "cancelonly", "suspended"}, name))
		c.InstrumentState = exchange.InstrumentState(c.AccountState)
	case "trading", "halted":
		c.InstrumentState = exchange.InstrumentState(1 + slices.Index([]string{"trading", "", "halted"}, name))
	default:
		if word[0] != '#' {
			return false
		}
		if c.OrderID = exchange.OrderID(parseNumber(word[1:])); c.OrderID == 0 {
			c.OrigID = commandID(word[1:])
		}
	}
	return true
}

// parseField reads Field=value, for values that have no word.
func parseField(c *exchange.Command, word string) bool {
	name, value, _ := strings.Cut(word, "=")
	f := reflect.ValueOf(c).Elem().FieldByName(name)
	switch {
	case !f.IsValid():
		return false
	case f.CanInt():
		f.SetInt(parseNumber(value))
	case f.CanUint():
		f.SetUint(uint64(parseNumber(value)))
	default:
		f.SetBool(value == "1")
	}
	return true
}

func who(acct exchange.AccountID, id exchange.OrderID) string { return fmt.Sprintf("a%d#%d", acct, id) }

func at(qty exchange.Qty, px exchange.Price) string {
	if px == 0 {
		return fmt.Sprint(qty)
	}
	return fmt.Sprintf("%d@%d", qty, px)
}

// describe prints an event: what matters most in words, and every other field
// that is not zero as name=value, so that nothing stays unseen.
func describe(ev exchange.Event) string {
	head, order := ev.Kind.String(), who(ev.Account, ev.OrderID)
	rest := ev
	rest.Kind, rest.Command, rest.Instrument, rest.Seq, rest.Time = 0, 0, 0, 0, 0
	said := func(format string, args ...any) {
		head += " " + fmt.Sprintf(format, args...)
		rest.Account, rest.OrderID, rest.Side, rest.Reason, rest.Price, rest.Qty = 0, 0, 0, 0, 0, 0
	}
	switch ev.Kind {
	case exchange.EventAccepted:
		said("%s %s %s %s %s", order, ev.Side, ev.Type, ev.TimeInForce, at(ev.Qty, ev.Price))
		rest.Type, rest.TimeInForce = 0, 0
		rest.OrderQty -= ev.Qty
		rest.LeavesQty -= ev.Qty
	case exchange.EventRejected, exchange.EventDuplicate:
		said("%s: %s", order, ev.Reason)
	case exchange.EventTrade, exchange.EventSelfTradePrevented:
		if ev.Kind == exchange.EventTrade {
			head = fmt.Sprintf("trade %d:", ev.TradeID)
			rest.TradeID = 0
		}
		said("%s %ss %s with %s, leaves %d and %d", order, ev.Side, at(ev.Qty, ev.Price), who(ev.MakerAccount, ev.MakerOrderID), ev.LeavesQty, ev.MakerLeavesQty)
		rest.LeavesQty, rest.MakerLeavesQty, rest.MakerAccount, rest.MakerOrderID = 0, 0, 0, 0
		if ev.Kind == exchange.EventTrade {
			rest.Amount -= exchange.Amount(ev.Price) * exchange.Amount(ev.Qty)
		}
	case exchange.EventCanceled, exchange.EventExpired:
		said("%s %s %s of %d: %s", order, ev.Side, at(ev.Qty, ev.Price), ev.OrderQty, ev.Reason)
		rest.OrderQty = 0
	case exchange.EventAmended:
		said("%s %s %s of %d: %s", order, ev.Side, at(ev.LeavesQty, ev.Price), ev.OrderQty, ev.Reason)
		rest.Qty, rest.OrderQty, rest.LeavesQty = ev.Qty, 0, 0
	case exchange.EventTriggered:
		said("%s %s %s %s of %d", order, ev.Side, ev.Type, at(ev.LeavesQty, ev.Price), ev.OrderQty)
		rest.Type, rest.LeavesQty, rest.OrderQty = 0, 0, 0
	case exchange.EventReplenished:
		said("%s %s %s, leaves %d", order, ev.Side, at(ev.Qty, ev.Price), ev.LeavesQty)
		rest.LeavesQty = 0
	case exchange.EventRepriced:
		said("%s %s %s", order, ev.Side, at(ev.LeavesQty, ev.Price))
		rest.LeavesQty = 0
	}
	if ev.Instrument != 1 {
		head = fmt.Sprintf("[%d] %s", ev.Instrument, head)
	}
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			name := v.Type().Field(i).Name
			name = strings.ToLower(name[:1]) + name[1:]
			text := fmt.Sprint(f.Interface())
			if id, ok := f.Interface().(exchange.CommandID); ok {
				name, text = strings.Replace(name, "iD", "id", 1), strings.TrimRight(string(id[:]), "\x00")
			}
			head += " " + name + "=" + text
		}
	}
	return head
}

// show answers a question about the state.
func (s *stage) show(words []string) (out []string, ok bool) {
	id := exchange.InstrumentID(1)
	if words[len(words)-1] == "inst=2" {
		id = 2
	}
	b := s.book(id)
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch words[0] {
	case "book":
		for _, side := range []exchange.Side{exchange.Sell, exchange.Buy} {
			line := side.String() + ":"
			for _, lv := range b.Levels(nil, side, 0) {
				line += fmt.Sprintf(" %d@%d/%d", lv.Qty, lv.Price, lv.Orders)
			}
			say("%s", line)
		}
	case "orders", "pending":
		orders := append(b.Orders(nil, exchange.Sell, 0), b.Orders(nil, exchange.Buy, 0)...)
		if words[0] == "pending" {
			orders = b.Pending(nil)
		}
		for _, o := range orders {
			say("%s", describeOrder(o))
		}
	case "queue":
		n, ahead, resting := b.QueuePosition(exchange.OrderID(parseNumber(words[1][1:])))
		say("ahead: %d orders with %d lots, resting: %t", n, ahead, resting)
	case "prices":
		last, _ := b.LastPrice()
		reference, _ := b.ReferencePrice()
		say("last %d reference %d", last, reference)
	case "clock":
		say("%d", s.clock())
	case "position":
		p := s.engine.Position(exchange.AccountID(parseNumber(words[1][1:])), id)
		say("net %d, open %d to buy, %d to sell, %d orders", p.Net, p.OpenBuy, p.OpenSell, p.Orders)
	case "balances":
		for _, acct := range slices.Sorted(maps.Keys(s.accounts)) {
			line := ""
			for _, a := range []exchange.Asset{stageBTC, stageUSD, stageETH} {
				if bal := s.engine.Balance(acct, a.ID); bal != (exchange.Balance{}) {
					line += fmt.Sprintf(" %s %d+%d", a.Code, bal.Available, bal.Held)
				}
			}
			if line != "" {
				say("a%d%s", acct, line)
			}
		}
	default:
		return nil, false
	}
	return out, true
}

// describeOrder prints an order of the book, with what an ordinary one lacks.
func describeOrder(o exchange.Order) string {
	line := fmt.Sprintf("%s %s %s of %d", who(o.Account, o.ID), o.Side, at(o.LeavesQty, o.Price), o.OrderQty)
	for _, f := range []struct {
		name  string
		value int64
		plain int64
	}{
		{"stop", int64(o.StopPrice), 0}, {"shown", int64(o.ShownQty), int64(o.LeavesQty)}, {"display", int64(o.DisplayQty), 0},
		{"expire", int64(o.Expire), 0}, {"funds", int64(o.Funds), 0}, {"held", int64(o.Held), 0}, {"group", int64(o.Group), 0},
	} {
		if f.value != f.plain && (f.name != "shown" || !o.Pending) {
			line += fmt.Sprintf(" %s=%d", f.name, f.value)
		}
	}
	return line
}
