package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/pipeline"
)

func (a *api) fills(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	q, err := readQuery(r, "symbol", "limit", "cursor")
	if err != nil {
		return err
	}
	instruments, err := a.instruments(q)
	if err != nil {
		return err
	}
	find := pipeline.FillQuery{Account: acct}
	if len(instruments) == 1 {
		find.Instrument = instruments[0].ID()
	}
	if find.Limit, err = q.limit(); err != nil {
		return err
	}
	if cursor := q.text("cursor", ""); cursor != "" {
		var t pipeline.Trade
		n, err := fmt.Sscanf(cursor, "%d-%d-%d", &t.Time, &t.Instrument, &t.ID)
		if err != nil || n != 3 || fillCursor(&t) != cursor {
			return badField("cursor", "%.64q: expected what next_cursor said", cursor)
		}
		find.Before = &t
	}
	if err := a.caughtUp(r, instruments...); err != nil {
		return err
	}
	trades, err := a.cfg.Store.Fills(r.Context(), find)
	if err != nil {
		return fmt.Errorf("listing fills: %w", err)
	}
	out := struct {
		Fills      []pipeline.FeedFill `json:"fills"`
		NextCursor string              `json:"next_cursor,omitempty"`
	}{Fills: []pipeline.FeedFill{}}
	for i := range trades {
		out.Fills = append(out.Fills, pipeline.FeedFillsOf(a.ids[trades[i].Instrument], &trades[i], acct)...)
	}
	if n := len(trades); n == find.Limit {
		out.NextCursor = fillCursor(&trades[n-1])
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func fillCursor(t *pipeline.Trade) string {
	return fmt.Sprintf("%d-%d-%d", t.Time, t.Instrument, t.ID)
}

func (a *api) balances(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	if _, err := readQuery(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), CatchUp)
	defer cancel()
	for _, in := range a.cfg.Instruments {
		if _, err := a.cfg.Board.Settled(ctx, in.ID()); err != nil {
			return err
		}
	}
	account, err := a.cfg.Balances.Account(ctx, acct)
	if err != nil {
		return fmt.Errorf("reading balances: %w", err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"balances": pipeline.FeedBalancesOf(a.assets, &account, 0).Balances})
	return nil
}

// demoAccount is an account as the page's login knows it.
type demoAccount struct {
	Account string `json:"account"`
}

func (a *api) demoAccounts(w http.ResponseWriter, r *http.Request) error {
	out := []demoAccount{}
	for _, acct := range a.cfg.Demo {
		out = append(out, demoAccount{strconv.FormatUint(uint64(acct), 10)})
	}
	writeJSON(w, http.StatusOK, map[string]any{"accounts": out})
	return nil
}

// demoLogin gives a token of a demo account to whoever sits at this machine.
func (a *api) demoLogin(w http.ResponseWriter, r *http.Request) error {
	if !loopback(r) {
		return problem(codeForbidden, "only from the venue's own machine")
	}
	var b demoAccount
	if err := body(r, &b); err != nil {
		return err
	}
	acct, err := strconv.ParseUint(b.Account, 10, 64)
	if err != nil || !slices.Contains(a.cfg.Demo, exchange.AccountID(acct)) {
		return badField("account", "%.64q: expected a demo account", b.Account)
	}
	token, id, err := a.cfg.Keys.Token(exchange.AccountID(acct), auth.DefaultTTL)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Account   string `json:"account"`
		Token     string `json:"token"`
		ExpiresAt string `json:"expires_at"`
	}{b.Account, token, id.Expires.UTC().Format(time.RFC3339)})
	return nil
}
