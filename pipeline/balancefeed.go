package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/castlecloud/exchange"
)

// BalanceFeed pushes the balances of accounts as Balances has them. The Settler
// has one; whoever else changes funds, by a deposit or a withdrawal, may use
// another. It is safe for concurrent use: whatever order the messages come in,
// the one with the highest Seq is the latest.
type BalanceFeed struct {
	balances Balances
	pusher   Pusher
	listens  func(exchange.AccountID) bool
	assets   map[exchange.AssetID]exchange.Asset
}

// NewBalanceFeed returns a feed of the balances in the assets of some
// instruments.
func NewBalanceFeed(instruments []*exchange.Instrument, balances Balances, pusher Pusher) *BalanceFeed {
	f := &BalanceFeed{balances: balances, pusher: pusher, assets: AssetsOf(instruments), listens: func(exchange.AccountID) bool { return true }}
	if l, ok := pusher.(Listener); ok {
		f.listens = func(acct exchange.AccountID) bool { return l.Listening(ChannelBalances, 0, acct) }
	}
	return f
}

// Push pushes what accounts have now to those who listen. It may be repeated.
// An account that fails keeps no other from being pushed.
func (f *BalanceFeed) Push(ctx context.Context, now exchange.Time, accounts ...exchange.AccountID) error {
	if l, ok := f.pusher.(BalanceListeners); ok {
		listening, err := l.BalanceListeners(ctx, accounts)
		if err != nil {
			return fmt.Errorf("asking who listens: %w", err)
		}
		accounts = listening
	}
	var messages []Push
	var failed error
	for _, id := range accounts {
		if !f.listens(id) {
			continue
		}
		a, err := f.balances.Account(ctx, id)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("reading an account: %w", err))
			continue
		}
		msg := FeedBalancesOf(f.assets, &a, now)
		data, err := json.Marshal(&msg)
		if err != nil {
			return fmt.Errorf("encoding balances: %w", err)
		}
		messages = append(messages, Push{Channel: ChannelBalances, Account: id, Seq: msg.Seq, Data: data})
	}
	if len(messages) > 0 {
		if err := f.pusher.Notify(ctx, messages); err != nil {
			failed = errors.Join(failed, fmt.Errorf("pushing balances: %w", err))
		}
	}
	return failed
}
