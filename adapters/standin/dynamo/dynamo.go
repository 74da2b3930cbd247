// Package dynamo stands in for DynamoDB where DynamoDB Local, which is exact
// and slow, would be all that is measured: it speaks the part of the wire
// protocol that this module's adapters use, and keeps everything in memory, in
// the process that serves it.
//
// It knows tables with a partition and a sort key, both strings, and local
// secondary indexes that project all; values of types S, N (whole numbers), B
// and BOOL; conditions of comparisons, BETWEEN, AND, OR, NOT,
// attribute_exists and attribute_not_exists; SET, ADD and REMOVE of whole
// attributes. What else a request asks for is refused or ignored as the
// operation's own comment says; nothing ever expires, and nothing is throttled.
// One lock makes everything one step: transactions are serializable, and never
// meet a TransactionConflict.
//
// The suites of the adapters run on it and on DynamoDB Local.
package dynamo

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Bounds, DynamoDB's but for the last.
const (
	maxRequest     = 16 << 20
	maxItem        = 400 << 10
	maxTransaction = 100
	maxGet         = 100
	maxWrite       = 25
	pageBytes      = 1 << 20
	// maxTokens is how many tokens of transactions are remembered at least;
	// DynamoDB does for ten minutes.
	maxTokens = 1 << 16
)

// Server is a DynamoDB. It is safe for concurrent use; make one with New.
type Server struct {
	mu     sync.Mutex
	tables map[string]*table
	tokens [2]map[string][sha256.Size]byte // the newer first
}

// New returns a Server without tables.
func New() *Server {
	return &Server{tables: map[string]*table{}, tokens: [2]map[string][sha256.Size]byte{{}, {}}}
}

type table struct {
	hash, sort string
	indexes    map[string]string // sort keys
	ttl        string
	partitions map[string]*partition
}

// partition has its items by sort key, and these in order.
type partition struct {
	items map[string]item
	order []string
}

// failure is an error as DynamoDB gives it.
type failure struct {
	kind    string
	Message string   `json:"message"`
	Type    string   `json:"__type"`
	Reasons []reason `json:"CancellationReasons,omitempty"`
}

type reason struct{ Code, Message string }

func (f *failure) Error() string { return f.kind + ": " + f.Message }

func refused(kind, message string) *failure { return &failure{kind: kind, Message: message} }

var errCondition = refused("ConditionalCheckFailedException", "The conditional request failed")

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	answer, err := s.serve(operation, body)
	status := http.StatusOK
	if err != nil {
		var f *failure
		if !errors.As(err, &f) {
			f = refused("SerializationException", err.Error())
		}
		said := *f
		said.Type = "com.amazonaws.dynamodb.v20120810#" + f.kind
		status, answer = http.StatusBadRequest, &said
	}
	data, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// read reads a request and then runs f on it, alone.
func read[T any](s *Server, body []byte, f func(in *T) (any, error)) (any, error) {
	var in T
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(&in)
}

func (s *Server) serve(operation string, body []byte) (any, error) {
	switch operation {
	case "GetItem":
		return read(s, body, s.getItem)
	case "BatchGetItem":
		return read(s, body, s.batchGet)
	case "Query":
		return read(s, body, s.query)
	case "PutItem", "UpdateItem", "DeleteItem":
		return read(s, body, func(w *write) (any, error) { return s.writeItem(operation, w) })
	case "TransactWriteItems":
		return read(s, body, s.transact)
	case "BatchWriteItem":
		return read(s, body, s.batchWrite)
	case "Scan":
		return read(s, body, s.scan)
	case "CreateTable":
		return read(s, body, s.createTable)
	case "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive":
		return read(s, body, func(in *tableRequest) (any, error) { return s.describe(operation, in) })
	}
	return nil, refused("UnknownOperationException", operation)
}

func (s *Server) table(name string) (*table, error) {
	if t := s.tables[name]; t != nil {
		return t, nil
	}
	return nil, refused("ResourceNotFoundException", "Cannot do operations on a non-existent table")
}

// key reads an item's key.
func (t *table) key(it item) (hash, sort string, err error) {
	h, r := it[t.hash], it[t.sort]
	if h.S == nil || r.S == nil || *h.S == "" || *r.S == "" {
		return "", "", invalid("The provided key element does not match the schema")
	}
	return *h.S, *r.S, nil
}

// find returns an item, nil when there is none, which nobody changes.
func (t *table) find(key item) (item, error) {
	hash, sort, err := t.key(key)
	if err == nil && len(key) != 2 {
		err = invalid("The provided key element does not match the schema")
	}
	if p := t.partitions[hash]; p != nil {
		return p.items[sort], err
	}
	return nil, err
}

// put replaces an item; nil removes it.
func (t *table) put(key, it item) {
	hash, sort, _ := t.key(key) // somebody has found it by that
	p := t.partitions[hash]
	if p == nil {
		p = &partition{items: map[string]item{}}
		t.partitions[hash] = p
	}
	at, there := slices.BinarySearch(p.order, sort)
	switch {
	case it == nil && there:
		p.order = slices.Delete(p.order, at, at+1)
		delete(p.items, sort)
	case it != nil && !there:
		p.order = slices.Insert(p.order, at, sort)
	}
	if it != nil {
		p.items[sort] = it
	}
}

func sizeOf(it item) (n int) {
	for name, v := range it {
		n += len(name) + v.size()
	}
	return n
}

// get is a request for an item, or for parts of it.
type get struct {
	TableName            string
	Key                  item
	ProjectionExpression string
	names
}

func (s *Server) getItem(in *get) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	it, err := t.find(in.Key)
	if err != nil || it == nil {
		return map[string]item{}, err
	}
	if in.ProjectionExpression != "" {
		p := newParser(in.ProjectionExpression, &in.names)
		part := item{}
		for more := true; more; more = p.take(",") {
			name, err := p.attribute()
			if err != nil {
				return nil, err
			}
			if v, ok := it[name]; ok {
				part[name] = v
			}
		}
		it = part
	}
	return map[string]item{"Item": it}, in.settled()
}

type batchGet struct {
	RequestItems map[string]struct{ Keys []item }
}

func (s *Server) batchGet(in *batchGet) (any, error) {
	out, n := map[string][]item{}, 0
	for name, ask := range in.RequestItems {
		t, err := s.table(name)
		if err != nil {
			return nil, err
		}
		out[name] = []item{}
		seen := map[[2]string]bool{}
		for _, key := range ask.Keys {
			it, err := t.find(key)
			if err != nil {
				return nil, err
			}
			hash, sort, _ := t.key(key)
			if seen[[2]string{hash, sort}] {
				return nil, invalid("Provided list of item keys contains duplicates")
			}
			seen[[2]string{hash, sort}] = true
			if it != nil {
				out[name] = append(out[name], it)
			}
			n++
		}
	}
	if n < 1 || n > maxGet {
		return nil, invalid("Too many items requested for the BatchGetItem call: %d", n)
	}
	return map[string]any{"Responses": out, "UnprocessedKeys": struct{}{}}, nil
}

type query struct {
	TableName, IndexName   string
	KeyConditionExpression string
	Limit                  int
	ExclusiveStartKey      item
	names
}

func (s *Server) query(in *query) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	// The partition is named first: #p = :p AND ...
	p := newParser(in.KeyConditionExpression, &in.names)
	if name, err := p.attribute(); err != nil || name != t.hash || !p.take("=") {
		return nil, invalid("Query condition missed key schema element: %s", t.hash)
	}
	hash, _, err := p.operand(nil)
	if err != nil || hash.S == nil {
		return nil, invalid("One or more parameter values were invalid: the partition is no string")
	}
	part := t.partitions[*hash.S]
	if part == nil {
		part = &partition{}
	}
	sort, order := t.sort, part.order
	if in.IndexName != "" {
		var ok bool
		if sort, ok = t.indexes[in.IndexName]; !ok {
			return nil, invalid("The table does not have the specified index: %s", in.IndexName)
		}
		order = part.by(sort)
	}
	met, err := condition(in.KeyConditionExpression, item{}, &in.names)
	if met || err != nil {
		return nil, err
	}
	if err := in.settled(); err != nil {
		return nil, err
	}
	out, size := []item{}, 0
	start := 0
	if in.ExclusiveStartKey != nil {
		_, last, err := t.key(in.ExclusiveStartKey)
		if err != nil {
			return nil, err
		}
		after := in.ExclusiveStartKey[sort]
		for start < len(order) {
			if c, _ := compare(part.items[order[start]][sort], after); c > 0 || c == 0 && order[start] > last {
				break
			}
			start++
		}
	}
	if in.IndexName == "" && in.ExclusiveStartKey == nil {
		start = seek(order, p, &in.names)
	}
	for _, name := range order[start:] {
		it := part.items[name]
		met, err := condition(in.KeyConditionExpression, it, &in.names)
		if err != nil {
			return nil, err
		}
		if !met {
			if len(out) > 0 {
				break // what meets it lies side by side
			}
			continue
		}
		if len(out) > 0 && (len(out) == in.Limit || size >= pageBytes) {
			end := out[len(out)-1]
			last := item{t.hash: end[t.hash], t.sort: end[t.sort], sort: end[sort]}
			return map[string]any{"Items": out, "Count": len(out), "LastEvaluatedKey": last}, nil
		}
		out = append(out, it)
		size += sizeOf(it)
	}
	return map[string]any{"Items": out, "Count": len(out)}, nil
}

// seek returns where the items of a range begin: it reads what follows the
// partition, #s BETWEEN :from or #s > :from.
func seek(order []string, p *parser, n *names) int {
	if !p.take("AND") {
		return 0
	}
	p.at++ // the sort key
	if !p.take("BETWEEN") && !p.take(">") && !p.take(">=") {
		return 0
	}
	from, _, err := p.operand(nil)
	if err != nil || from.S == nil {
		return 0
	}
	at, _ := slices.BinarySearch(order, *from.S)
	return at
}

// by returns the sort keys of the items that have an attribute, by that.
func (p *partition) by(name string) (order []string) {
	for _, sort := range p.order {
		if p.items[sort][name].S != nil {
			order = append(order, sort)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return strings.Compare(*p.items[a][name].S, *p.items[b][name].S) })
	return order
}

// write is one change, by itself or in a transaction. ReturnValues is ALL_OLD
// or nothing.
type write struct {
	TableName           string
	Item, Key           item
	ConditionExpression string
	UpdateExpression    string
	ReturnValues        string
	names
}

// planned is a change that may be made.
type planned struct {
	table         *table
	key, old, new item
	changes       bool
}

// plan checks a change, and its condition: errCondition.
func (s *Server) plan(operation string, w *write) (p planned, err error) {
	if p.table, err = s.table(w.TableName); err != nil {
		return p, err
	}
	p.key, p.changes = w.Key, true
	if operation == "PutItem" {
		p.key = item{p.table.hash: w.Item[p.table.hash], p.table.sort: w.Item[p.table.sort]}
	}
	if p.old, err = p.table.find(p.key); err != nil {
		return p, err
	}
	met, err := condition(w.ConditionExpression, p.old, &w.names)
	if err != nil {
		return p, err
	}
	switch operation {
	case "PutItem":
		p.new = w.Item
		for _, v := range p.new {
			if err := v.check(); err != nil {
				return p, err
			}
		}
	case "UpdateItem":
		p.new = maps.Clone(p.old)
		if p.new == nil {
			p.new = maps.Clone(p.key)
		}
		if err := update(w.UpdateExpression, p.new, &w.names); err != nil {
			if !met && errors.Is(err, errOperand) { // which is found out when it is changed
				return p, errCondition
			}
			return p, err
		}
		for name, v := range p.key {
			if same, ok := compare(p.new[name], v); !ok || same != 0 {
				return p, invalid("Cannot update attribute %s. This attribute is part of the key", name)
			}
		}
	case "ConditionCheck":
		p.changes = false
	}
	switch err := w.settled(); {
	case err != nil:
		return p, err
	case sizeOf(p.new) > maxItem:
		return p, invalid("Item size has exceeded the maximum allowed size")
	case !met:
		return p, errCondition
	}
	return p, nil
}

func (p *planned) run() {
	if p.changes {
		p.table.put(p.key, p.new)
	}
}

func (s *Server) writeItem(operation string, w *write) (any, error) {
	p, err := s.plan(operation, w)
	if err != nil {
		return nil, err
	}
	p.run()
	if w.ReturnValues == "ALL_OLD" && p.old != nil {
		return map[string]item{"Attributes": p.old}, nil
	}
	return struct{}{}, nil
}

type transaction struct {
	ClientRequestToken string
	TransactItems      []struct{ Put, Update, Delete, ConditionCheck *write }
}

func (s *Server) transact(in *transaction) (any, error) {
	n := len(in.TransactItems)
	if n < 1 || n > maxTransaction {
		return nil, invalid("Member must have length less than or equal to %d: %d", maxTransaction, n)
	}
	data, err := json.Marshal(in.TransactItems)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	for _, known := range s.tokens {
		if had, ok := known[in.ClientRequestToken]; ok && in.ClientRequestToken != "" {
			if had != sum {
				return nil, refused("IdempotentParameterMismatchException", "the token is known with other contents")
			}
			return struct{}{}, nil
		}
	}
	plans, reasons, met := make([]planned, n), make([]reason, n), true
	seen := map[string]bool{}
	for i := range in.TransactItems {
		one := &in.TransactItems[i]
		operation, w := "PutItem", one.Put
		switch {
		case one.Update != nil:
			operation, w = "UpdateItem", one.Update
		case one.Delete != nil:
			operation, w = "DeleteItem", one.Delete
		case one.ConditionCheck != nil:
			operation, w = "ConditionCheck", one.ConditionCheck
		}
		if w == nil {
			return nil, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
		}
		var f *failure
		plans[i], err = s.plan(operation, w)
		reasons[i].Code = "None"
		switch {
		case errors.Is(err, errCondition):
			reasons[i], met = reason{"ConditionalCheckFailed", errCondition.Message}, false
		case errors.As(err, &f) && f.kind == "ValidationException":
			reasons[i], met = reason{"ValidationError", f.Message}, false
			continue
		case err != nil:
			return nil, err
		}
		hash, sort, _ := plans[i].table.key(plans[i].key)
		if name := w.TableName + "\x00" + hash + "\x00" + sort; seen[name] {
			return nil, invalid("Transaction request cannot include multiple operations on one item")
		} else {
			seen[name] = true
		}
	}
	if !met {
		return nil, &failure{kind: "TransactionCanceledException", Message: "Transaction cancelled, please refer cancellation reasons for specific reasons", Reasons: reasons}
	}
	for i := range plans {
		plans[i].run()
	}
	if in.ClientRequestToken != "" {
		if len(s.tokens[0]) >= maxTokens {
			s.tokens = [2]map[string][sha256.Size]byte{{}, s.tokens[0]}
		}
		s.tokens[0][in.ClientRequestToken] = sum
	}
	return struct{}{}, nil
}

type batchWrite struct {
	RequestItems map[string][]struct{ PutRequest, DeleteRequest *write }
}

func (s *Server) batchWrite(in *batchWrite) (any, error) {
	var plans []planned
	for name, requests := range in.RequestItems {
		for _, one := range requests {
			operation, w := "PutItem", one.PutRequest
			if one.DeleteRequest != nil {
				operation, w = "DeleteItem", one.DeleteRequest
			}
			if w == nil {
				return nil, invalid("a request that puts nothing and deletes nothing")
			}
			w.TableName = name
			p, err := s.plan(operation, w)
			if err != nil {
				return nil, err
			}
			plans = append(plans, p)
		}
	}
	if n := len(plans); n < 1 || n > maxWrite {
		return nil, invalid("Too many items requested for the BatchWriteItem call: %d", n)
	}
	for i := range plans {
		plans[i].run()
	}
	return map[string]any{"UnprocessedItems": struct{}{}}, nil
}
