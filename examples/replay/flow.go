package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// columns are those a header may name; the first mandatory ones it must.
var columns = []string{
	"op", "id", "side", "type", "tif", "price", "qty",
	"account", "stop", "display", "min_qty", "post_only", "stp", "expire", "time",
}

const (
	mandatory = 7
	maxIDLen  = 64 // bytes of an order id or an account
)

// flow is a command file, read.
type flow struct {
	commands []exchange.Command
	ids      map[exchange.CommandID]string // the file's name of an order
	highest  exchange.Price                // the highest price or trigger price
}

// worstPrice bounds market orders where funds are checked: it is beyond every
// order of the file.
func (f *flow) worstPrice() exchange.Price { return min(2*f.highest, exchange.MaxPrice) }

// badCell says what is wrong with one cell of a file.
type badCell struct {
	file   string
	line   int
	column string
	value  string
	want   string
}

func (e *badCell) Error() string {
	value := e.value
	if len(value) > 2*maxIDLen {
		value = value[:2*maxIDLen] + "..."
	}
	return fmt.Sprintf("%s:%d: column %s: %q: %s", e.file, e.line, e.column, value, e.want)
}

// choice is a word a cell may hold, and what it stands for. The first of
// several names for one value is the usual one.
type choice[T any] struct {
	word  string
	value T
}

var (
	ops = []choice[exchange.CommandKind]{
		{"add", exchange.KindNewOrder}, {"cancel", exchange.KindCancel}, {"reduce", exchange.KindReduce}, {"amend", exchange.KindAmend},
	}
	sides = []choice[exchange.Side]{{"buy", exchange.Buy}, {"sell", exchange.Sell}}
	types = []choice[exchange.OrderType]{
		{"limit", exchange.Limit}, {"market", exchange.Market}, {"market-to-limit", exchange.MarketToLimit}, {"stop", exchange.Stop},
		{"stop-limit", exchange.StopLimit}, {"take-profit", exchange.TakeProfit}, {"take-profit-limit", exchange.TakeProfitLimit},
	}
	tifs = []choice[exchange.TimeInForce]{
		{"GTC", exchange.GTC}, {"Day", exchange.Day}, {"GFD", exchange.Day}, {"GTD", exchange.GTD}, {"IOC", exchange.IOC}, {"FOK", exchange.FOK},
	}
	postOnlys = []choice[exchange.PostOnly]{
		{"false", 0}, {"true", exchange.PostOnlyReject}, {"slide", exchange.PostOnlySlide},
	}
	selfTrades = []choice[exchange.SelfTradePrevention]{
		{"none", 0}, {"cancel-newest", exchange.CancelNewest}, {"cancel-oldest", exchange.CancelOldest},
		{"cancel-both", exchange.CancelBoth}, {"decrement", exchange.Decrement},
	}
)

// parser turns rows into commands. The first fault of a row is kept in err,
// so that reading a row needs no check after every cell.
type parser struct {
	file string
	inst *exchange.Instrument
	csv  *csv.Reader
	at   map[string]int // where a column stands; absent ones are missing
	row  []string
	err  error

	flow     *flow
	accounts map[string]exchange.AccountID // by name, see account
	owners   map[string]exchange.AccountID // who added an order, by its id
}

// parseFlow reads a whole command file, or says what is wrong with it.
func parseFlow(file string, r io.Reader, inst *exchange.Instrument) (*flow, error) {
	buf := bufio.NewReader(r)
	if mark, err := buf.Peek(3); err == nil && string(mark) == "\uFEFF" {
		buf.Discard(3) // the byte order mark some spreadsheets write
	}
	p := &parser{
		file: file, inst: inst, csv: csv.NewReader(buf),
		flow:     &flow{ids: make(map[exchange.CommandID]string)},
		accounts: make(map[string]exchange.AccountID),
		owners:   make(map[string]exchange.AccountID),
	}
	p.csv.ReuseRecord = true
	p.csv.FieldsPerRecord = -1 // counted by checkWidth, which names the column
	if err := p.header(); err != nil {
		return nil, err
	}
	for {
		row, err := p.csv.Read()
		if err == io.EOF {
			return p.flow, nil
		}
		if err != nil {
			return nil, p.readError(err)
		}
		p.row = row
		cmd := p.command()
		if p.err != nil {
			return nil, p.err
		}
		p.flow.commands = append(p.flow.commands, cmd)
		p.flow.highest = max(p.flow.highest, cmd.Price, cmd.StopPrice)
	}
}

func (p *parser) header() error {
	names, err := p.csv.Read()
	if err == io.EOF {
		return fmt.Errorf("%s:1: empty: expected a header with the columns %s", p.file, strings.Join(columns[:mandatory], ","))
	}
	if err != nil {
		return p.readError(err)
	}
	p.at = make(map[string]int, len(names))
	for i, name := range names {
		line, _ := p.csv.FieldPos(i)
		name = strings.TrimSpace(name)
		if !slices.Contains(columns, name) {
			return &badCell{p.file, line, strconv.Itoa(i + 1), name, "expected a column's name: " + strings.Join(columns, ", ")}
		}
		if _, twice := p.at[name]; twice {
			return &badCell{p.file, line, strconv.Itoa(i + 1), name, "expected each column once"}
		}
		p.at[name] = i
	}
	for _, name := range columns[:mandatory] {
		if _, ok := p.at[name]; !ok {
			return fmt.Errorf("%s:1: column %s is missing: expected at least %s", p.file, name, strings.Join(columns[:mandatory], ","))
		}
	}
	return nil
}

// readError puts the place in front of what the CSV reader found.
func (p *parser) readError(err error) error {
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return fmt.Errorf("%s:%d: character %d: %w: expected comma-separated values", p.file, bad.Line, bad.Column, bad.Err)
	}
	return fmt.Errorf("%s: %w", p.file, err)
}

// command reads the current row. Every cell that is not empty must make
// sense, whether the operation uses it or not; what the engine judges, such
// as a post-only IOC order, is left to it.
func (p *parser) command() exchange.Command {
	if !p.checkWidth() {
		return exchange.Command{}
	}
	id := p.name("id")
	p.require("id", id != "", "an order id")
	cmd := exchange.Command{
		Kind:        word(p, "op", ops),
		Instrument:  instrumentID,
		Side:        word(p, "side", sides),
		Type:        word(p, "type", types),
		TimeInForce: word(p, "tif", tifs),
		PostOnly:    word(p, "post_only", postOnlys),
		SelfTrade:   word(p, "stp", selfTrades),
		Price:       number(p, "price", p.inst.Price),
		StopPrice:   number(p, "stop", p.inst.Price),
		Qty:         number(p, "qty", p.inst.Qty),
		DisplayQty:  number(p, "display", p.inst.Qty),
		MinQty:      number(p, "min_qty", p.inst.Qty),
		Expire:      p.time("expire"),
		Time:        p.time("time"),
	}
	p.require("op", cmd.Kind != 0, oneOf(ops))
	if p.err != nil {
		return exchange.Command{}
	}
	cmd.Account = p.account(id, cmd.Kind == exchange.KindNewOrder)
	if cmd.Kind == exchange.KindNewOrder {
		p.requireOrder(&cmd)
		cmd.ID = commandID(id)
		p.flow.ids[cmd.ID] = strings.Clone(id) // a cell pins its whole row
		return cmd
	}
	return p.change(&cmd, id)
}

// requireOrder checks that a new order has what its type needs.
func (p *parser) requireOrder(cmd *exchange.Command) {
	p.require("side", cmd.Side != 0, oneOf(sides))
	p.require("type", cmd.Type != 0, oneOf(types))
	p.require("tif", cmd.TimeInForce != 0, oneOf(tifs))
	p.require("qty", cmd.Qty != 0, "a quantity above zero")
	switch cmd.Type {
	case exchange.Limit, exchange.StopLimit, exchange.TakeProfitLimit:
		p.require("price", cmd.Price != 0, "a price above zero")
	}
	switch cmd.Type {
	case exchange.Stop, exchange.StopLimit, exchange.TakeProfit, exchange.TakeProfitLimit:
		p.require("stop", cmd.StopPrice != 0, "a trigger price above zero")
	}
}

// change keeps of a row what a cancel, reduce or amend reads. They name the
// order by the command that created it and have no id of their own.
func (p *parser) change(row *exchange.Command, id string) exchange.Command {
	cmd := exchange.Command{Kind: row.Kind, Instrument: row.Instrument, Account: row.Account, OrigID: commandID(id), Time: row.Time}
	switch row.Kind {
	case exchange.KindReduce:
		p.require("qty", row.Qty != 0, "a quantity above zero")
		cmd.Qty = row.Qty
	case exchange.KindAmend:
		p.require("price", row.Price != 0 || row.Qty != 0 || row.StopPrice != 0, "a new price, qty or stop")
		cmd.Price, cmd.Qty, cmd.StopPrice = row.Price, row.Qty, row.StopPrice
	}
	return cmd
}

// commandID derives the engine's id from the file's, so that an id that comes
// twice is seen and no table is needed to find an order.
func commandID(id string) exchange.CommandID {
	sum := sha256.Sum256([]byte(id))
	return exchange.CommandID(sum[:16])
}

// account returns the account a row acts for: the one it names, else that of
// the order it changes, else one that belongs to this order id alone.
func (p *parser) account(id string, adds bool) exchange.AccountID {
	key := "order " + id
	if name := p.name("account"); name != "" {
		key = "account " + name
	} else if owner, ok := p.owners[id]; ok && !adds {
		return owner
	}
	acct, ok := p.accounts[key]
	if !ok {
		acct = exchange.AccountID(len(p.accounts) + 1)
		p.accounts[key] = acct
	}
	if adds {
		p.owners[strings.Clone(id)] = acct
	}
	return acct
}

// checkWidth reports a row that has fewer or more cells than the header.
func (p *parser) checkWidth() bool {
	if len(p.row) == len(p.at) {
		return true
	}
	last := len(p.row) - 1
	line, _ := p.csv.FieldPos(last)
	column := strconv.Itoa(last + 1)
	for _, name := range columns {
		if i, ok := p.at[name]; ok && i == last {
			column = name
		}
	}
	p.err = &badCell{p.file, line, column, p.row[last], fmt.Sprintf("the last of %d cells, expected %d as in the header", len(p.row), len(p.at))}
	return false
}

// cell returns the text of a column, "" when the file has no such column.
func (p *parser) cell(column string) string {
	if i, ok := p.at[column]; ok {
		return strings.TrimSpace(p.row[i])
	}
	return ""
}

// require notes a fault unless ok. The first fault of a row counts.
func (p *parser) require(column string, ok bool, want string) {
	if !ok {
		p.fail(column, "expected "+want)
	}
}

func (p *parser) fail(column, want string) {
	if p.err != nil {
		return
	}
	// A column the file does not have is at fault where the row begins.
	i := p.at[column]
	line, _ := p.csv.FieldPos(i)
	p.err = &badCell{p.file, line, column, p.cell(column), want}
}

func (p *parser) name(column string) string {
	text := p.cell(column)
	p.require(column, len(text) <= maxIDLen, fmt.Sprintf("at most %d bytes", maxIDLen))
	return text
}

// time reads a number of nanoseconds; an empty cell is 0.
func (p *parser) time(column string) exchange.Time {
	text := p.cell(column)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	p.require(column, err == nil && n >= 0, "a whole number of nanoseconds, 0 or more")
	return exchange.Time(n)
}

// number reads a decimal; an empty cell and 0 are 0: none.
func number[T exchange.Price | exchange.Qty](p *parser, column string, convert func(decimal.Decimal) (T, error)) T {
	text := p.cell(column)
	if text == "" {
		return 0
	}
	d, err := exchange.ParseDecimal(column, text)
	if err == nil && d.IsZero() {
		return 0
	}
	var n T
	if err == nil {
		n, err = convert(d)
	}
	var field *exchange.FieldError
	if errors.As(err, &field) {
		p.fail(column, field.Rule)
	}
	return n
}

// word finds a cell among the choices, whatever its case; an empty cell is 0.
func word[T any](p *parser, column string, choices []choice[T]) (value T) {
	text := p.cell(column)
	if text == "" {
		return value
	}
	for _, c := range choices {
		if strings.EqualFold(c.word, text) {
			return c.value
		}
	}
	p.fail(column, "expected "+oneOf(choices))
	return value
}

func oneOf[T any](choices []choice[T]) string {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = c.word
	}
	return "one of " + strings.Join(words, ", ")
}
