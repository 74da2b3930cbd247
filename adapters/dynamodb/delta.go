package dynamodb

import (
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// delta is a change of an account that holds whatever else becomes of the
// account meanwhile: additions, under conditions on what they add to. So two of
// them do not get into each other's way, as two readings do that are written
// back. Whoever writes back what he has read sees it by the revision.
type delta struct {
	account    exchange.AccountID
	assets     []pipeline.AssetChange
	openOrders int64
	version    uint64
	// A settlement moves the position that the account has taken of inst (0:
	// none) from before to pos.
	inst        exchange.InstrumentID
	before, pos pipeline.Position
	// unlimited: only when nothing but the balances has a say in a hold.
	unlimited bool
}

// write makes one part of a transaction of a delta.
func (b *Balances) writeDelta(d *delta) types.TransactWriteItem {
	names, values := map[string]string{"#r": "r"}, item{":one": num(int64(1))}
	adds, conditions := []string{"#r :one"}, []string(nil)
	add := func(placeholder, name string, n int64) {
		names["#"+placeholder], values[":"+placeholder] = name, num(n)
		adds = append(adds, "#"+placeholder+" :"+placeholder)
	}
	// balance adds to one between 0 and 2^63-1 and leaves it there.
	balance := func(placeholder, name string, n exchange.Amount) {
		add(placeholder, name, int64(n)) // also nothing: an asset that an account ever had is listed
		if n == 0 {
			return
		}
		bound := ":b" + placeholder
		if n < 0 {
			values[bound] = num(-n)
			conditions = append(conditions, fmt.Sprintf("#%s >= %s", placeholder, bound))
		} else {
			values[bound] = num(math.MaxInt64 - n)
			conditions = append(conditions, fmt.Sprintf("(attribute_not_exists(#%s) OR #%s <= %s)", placeholder, placeholder, bound))
		}
	}
	for i, ch := range d.assets {
		balance(fmt.Sprintf("a%d", i), numbered(prefixAvailable, ch.Asset), ch.Available)
		balance(fmt.Sprintf("h%d", i), numbered(prefixHeld, ch.Asset), ch.Held)
	}
	if d.openOrders != 0 {
		add("o", "openOrders", d.openOrders)
	}
	if d.version != 0 {
		add("v", "v", int64(d.version))
	}
	expression := "ADD " + strings.Join(adds, ", ")
	if d.inst != 0 {
		names["#s"], values[":pos"] = numbered(prefixSettled, d.inst), unum(d.pos)
		expression = "SET #s = :pos " + expression
		if d.before == 0 {
			conditions = append(conditions, "attribute_not_exists(#s)")
		} else {
			values[":before"] = unum(d.before)
			conditions = append(conditions, "#s = :before")
		}
	}
	if d.unlimited {
		names["#state"], values[":active"] = "state", unum(uint8(exchange.AccountActive))
		conditions = append(conditions, "(attribute_not_exists(#state) OR #state <= :active)", "attribute_exists(#r)")
		for i, name := range [...]string{"killed", "maxOpenOrders", "maxMessages", "maxHolding", "messages"} {
			placeholder := fmt.Sprintf("#l%d", i)
			names[placeholder] = name
			conditions = append(conditions, "attribute_not_exists("+placeholder+")")
		}
	}
	u := &types.Update{TableName: aws.String(b.table), Key: accountKey(d.account).item(), UpdateExpression: aws.String(expression),
		ExpressionAttributeNames: names, ExpressionAttributeValues: values}
	if len(conditions) > 0 {
		u.ConditionExpression = aws.String(strings.Join(conditions, " AND "))
	}
	return types.TransactWriteItem{Update: u}
}

// limited reports whether more than balances has a say in an account's holds.
func (a *account) limited() bool {
	return a.state > exchange.AccountActive || a.killed || a.limits != pipeline.AccountLimits{MessageWindow: a.limits.MessageWindow}
}

// since returns what has become of an account since it was read.
func (a *account) since(read *account, inst exchange.InstrumentID) *delta {
	d := &delta{account: a.id, openOrders: a.openOrders - read.openOrders, version: a.version - read.version,
		inst: inst, before: read.settled[inst], pos: a.settled[inst]}
	for i := range a.balances {
		now, was := &a.balances[i], read.of(a.balances[i].Asset)
		ch := pipeline.AssetChange{Asset: now.Asset, Available: now.Available - was.Available, Held: now.Held - was.Held}
		if _, had := find(read.balances, ch.Asset); !had || ch.Available != 0 || ch.Held != 0 {
			d.assets = append(d.assets, ch)
		}
	}
	return d
}

// clone returns an account that shares nothing that changes.
func (a *account) clone() *account {
	c := *a
	c.balances = append([]pipeline.AssetBalance(nil), a.balances...)
	c.settled = map[exchange.InstrumentID]pipeline.Position{}
	for inst, pos := range a.settled {
		c.settled[inst] = pos
	}
	return &c
}
