package exchange

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Errors of Restore. Both are wrapped with what was found.
var (
	// ErrSnapshotDamaged says that the bytes are no snapshot, or no whole one,
	// or describe a state that cannot be.
	ErrSnapshotDamaged = errors.New("damaged snapshot")
	// ErrSnapshotForeign says that a sound snapshot belongs to another format
	// version or to another Config.
	ErrSnapshotForeign = errors.New("foreign snapshot")
)

// A snapshot is: magic, version, what it is of, the length of the body, the
// body, and a CRC-32C of all that. The body is canonical: the same state gives
// the same bytes, whatever the history of slots and tables was.
const (
	snapshotMagic   = "EXCH"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 2 + 1 + 8
	snapshotTrailer = 4

	snapshotOfEngine  = 1
	snapshotOfMatcher = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSnapshot(dst []byte, of uint8, body func(*encoder)) []byte {
	start := len(dst)
	w := encoder{buf: append(dst, snapshotMagic...)}
	w.u16(snapshotVersion)
	w.u8(of)
	w.u64(0)
	body(&w)
	binary.LittleEndian.PutUint64(w.buf[start+snapshotHeader-8:], uint64(len(w.buf)-start-snapshotHeader))
	w.u32(crc32.Checksum(w.buf[start:], castagnoli))
	return w.buf
}

// openSnapshot checks the envelope and returns a decoder of the body.
func openSnapshot(data []byte, of uint8) (*decoder, error) {
	if len(data) < snapshotHeader+snapshotTrailer || !bytes.HasPrefix(data, []byte(snapshotMagic)) {
		return nil, fmt.Errorf("%w: %d bytes do not begin as one", ErrSnapshotDamaged, len(data))
	}
	if v := binary.LittleEndian.Uint16(data[4:]); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d, expected %d", ErrSnapshotForeign, v, snapshotVersion)
	}
	end := len(data) - snapshotTrailer
	if n := binary.LittleEndian.Uint64(data[snapshotHeader-8:]); n != uint64(end-snapshotHeader) {
		return nil, fmt.Errorf("%w: body of %d bytes, expected %d", ErrSnapshotDamaged, end-snapshotHeader, n)
	}
	if sum := crc32.Checksum(data[:end], castagnoli); sum != binary.LittleEndian.Uint32(data[end:]) {
		return nil, fmt.Errorf("%w: checksum %08x does not match", ErrSnapshotDamaged, sum)
	}
	if data[6] != of {
		return nil, fmt.Errorf("%w: of kind %d, expected %d (1: engine, 2: matcher)", ErrSnapshotForeign, data[6], of)
	}
	return &decoder{buf: data[snapshotHeader:end]}, nil
}

// foreign fails unless the snapshot was made under the same setting.
func foreign[T comparable](err *error, what string, have, want T) {
	if *err == nil && have != want {
		*err = fmt.Errorf("%w: %s %v, expected %v", ErrSnapshotForeign, what, have, want)
	}
}

func (r *decoder) finish() error {
	r.check(len(r.buf) == 0, "bytes are left over")
	if r.bad != "" {
		return fmt.Errorf("%w: %s", ErrSnapshotDamaged, r.bad)
	}
	return nil
}

// AppendSnapshot appends the whole state to dst. It must not run while a
// command is applied.
func (e *Engine) AppendSnapshot(dst []byte) []byte {
	return appendSnapshot(dst, snapshotOfEngine, e.encode)
}

// Hash returns the SHA-256 of the state: equal for engines of the same Config
// that have applied the same commands.
func (e *Engine) Hash() [32]byte { return hashOf(e.AppendSnapshot(nil)) }

func hashOf(snapshot []byte) [32]byte {
	return sha256.Sum256(snapshot[:len(snapshot)-snapshotTrailer])
}

// Restore replaces the state by that of a snapshot, which must come from an
// engine of the same Config; the Config may list further instruments, which
// begin empty. On an error (ErrSnapshotDamaged, ErrSnapshotForeign) the engine
// is as it was.
func (e *Engine) Restore(data []byte) error {
	r, err := openSnapshot(data, snapshotOfEngine)
	if err != nil {
		return err
	}
	fresh, err := NewEngine(e.config)
	if err != nil {
		return err
	}
	if err := fresh.decode(r); err != nil {
		return err
	}
	markets := e.markets // they stay where they are: a Book keeps its address
	*e = *fresh
	e.markets, e.risk.engine = markets, e
	for id, m := range markets {
		if m != nil {
			m.adopt(fresh.markets[id])
			m.core, m.risk = &e.core, &e.risk
		}
	}
	return nil
}

func (e *Engine) encode(w *encoder) {
	k := &e.risk
	w.u8(uint8(k.mode))
	w.i64(int64(k.maxAccounts))
	w.i64(int64(e.now))
	e.stream.encode(w, e.now)
	w.bool(k.killed)
	n := 0
	for i := range k.assets {
		if k.assets[i].asset.ID != 0 {
			n++
		}
	}
	w.u64(uint64(n))
	for i := range k.assets {
		if a := &k.assets[i]; a.asset.ID != 0 {
			w.u32(uint32(a.asset.ID))
			w.text(a.asset.Code)
			w.u32(uint32(a.asset.Scale))
			w.i64(int64(a.total))
			w.i64(int64(a.users))
		}
	}
	w.u64(uint64(k.accounts.made()))
	for i := ref(1); i <= k.accounts.made(); i++ {
		a := k.accounts.at(i)
		w.u64(uint64(a.id))
		w.u8(uint8(a.state))
		w.bool(a.killed)
		w.i64(a.messages)
		w.i64(int64(a.since))
	}
	w.u64(uint64(k.balances.made()))
	for i := ref(1); i <= k.balances.made(); i++ {
		b := k.balances.at(i)
		w.u64(uint64(b.account))
		w.u32(uint32(b.asset))
		w.i64(int64(b.Available))
		w.i64(int64(b.Held))
	}
	w.u64(uint64(k.limits.Len()))
	k.limits.Scan(func(l limit) bool {
		w.u32(uint32(l.instrument))
		w.u64(uint64(l.account))
		w.u8(uint8(l.kind))
		w.i64(l.value)
		return true
	})
	n = 0
	for _, m := range e.markets {
		if m != nil {
			n++
		}
	}
	w.u64(uint64(n))
	for _, m := range e.markets {
		if m != nil {
			w.u32(uint32(m.id))
			m.encode(w)
		}
	}
}

func (e *Engine) decode(r *decoder) error {
	k := &e.risk
	var err error
	foreign(&err, "Funds", Funds(r.u8()), k.mode)
	foreign(&err, "MaxAccounts", r.i64(), int64(k.maxAccounts))
	if err != nil {
		return err
	}
	e.now = Time(r.within(0, math.MaxInt64, "the clock is negative"))
	if err := e.stream.decode(r, e.now); err != nil {
		return err
	}
	k.killed = r.bool()
	if err := k.decodeAssets(r); err != nil {
		return err
	}
	k.decodeAccounts(r)
	k.decodeBalances(r)
	k.decodeLimits(r)
	if r.bad != "" {
		return r.finish()
	}
	last := InstrumentID(0)
	for range r.count(4) {
		id := InstrumentID(r.u32())
		m := e.market(id)
		if m == nil {
			if r.bad == "" {
				return fmt.Errorf("%w: instrument %d is not in the Config", ErrSnapshotForeign, id)
			}
			break
		}
		r.check(id > last, "instruments are not in order")
		last = id
		if err := m.decode(r); err != nil {
			return err
		}
		if at, ok := m.book.nextExpiry(); ok {
			e.nextExpiry = min(e.nextExpiry, at)
		}
	}
	r.check(last != 0, "there is no instrument")
	k.resolve(0, 0)
	if err := r.finish(); err != nil {
		return err
	}
	return k.audit()
}

func (k *risk) decodeAssets(r *decoder) error {
	last := AssetID(0)
	for range r.count(4 + 1 + 4 + 16) {
		a := Asset{ID: AssetID(r.u32()), Code: r.text(), Scale: int32(r.u32())}
		total, users := r.within(0, math.MaxInt64, "a total is negative"), r.within(0, math.MaxInt64, "a total is negative")
		r.check(a.ID > last, "assets are not in order")
		r.check(k.mode == FundsLedger || total == 0 && users == 0, "funds are kept that are not")
		last = a.ID
		if r.bad != "" {
			break
		}
		if int(a.ID) >= len(k.assets) || k.assets[a.ID].asset != a {
			return fmt.Errorf("%w: asset %d %s with scale %d is not in the Config", ErrSnapshotForeign, a.ID, a.Code, a.Scale)
		}
		k.assets[a.ID].total, k.assets[a.ID].users = Amount(total), Amount(users)
	}
	return nil
}

func (k *risk) decodeAccounts(r *decoder) {
	n := r.count(8 + 1 + 1 + 16)
	r.check(n <= k.maxAccounts, "more accounts than MaxAccounts")
	for range n {
		id := AccountID(r.u64())
		state, killed := AccountState(r.u8()), r.bool()
		messages := r.within(0, math.MaxInt64, "a message count is negative")
		since := r.within(0, int64(k.engine.now), "messages are counted from no time that was")
		r.check(id != 0 && k.account(id) == 0, "an account is zero or comes twice")
		r.check(state >= AccountActive && state <= AccountSuspended, "an account has no known state")
		if r.bad != "" {
			return
		}
		a := k.accounts.at(k.openAccount(id))
		k.setState(a, state)
		a.killed, a.messages, a.since = killed, messages, Time(since)
	}
}

func (k *risk) decodeBalances(r *decoder) {
	n := r.count(8 + 4 + 16)
	r.check(k.mode == FundsLedger || n == 0, "funds are kept that are not")
	for range n {
		acct, asset := AccountID(r.u64()), AssetID(r.u32())
		available, held := r.i64(), r.within(0, math.MaxInt64, "a held amount is negative")
		r.check(int(asset) < len(k.assets) && k.assets[min(int(asset), len(k.assets)-1)].asset.ID != 0, "a balance is of an unknown asset")
		r.check(k.balance(acct, asset) == 0, "a balance comes twice")
		r.check(acct == 0 || available >= 0 && k.account(acct) != 0, "a balance is below zero or of an unknown account")
		if r.bad != "" {
			return
		}
		b := k.balances.at(k.openBalance(acct, asset))
		b.Available, b.Held = Amount(available), Amount(held)
	}
}

func (k *risk) decodeLimits(r *decoder) {
	for range r.count(4 + 8 + 1 + 8) {
		l := limit{limitKey{InstrumentID(r.u32()), AccountID(r.u64()), LimitKind(r.u8())}, r.i64()}
		cmd := SetLimit(l.instrument, l.account, l.kind, l.value)
		r.check(l.value >= 0 && !l.kind.ofBook() && checkLimit(&cmd) == 0, "a limit is not allowed")
		if r.bad != "" {
			return
		}
		had := k.limits.Len()
		k.limits.Set(l)
		highest, _ := k.limits.Max()
		r.check(k.limits.Len() > had && highest == l, "limits are not in order")
	}
}

// audit checks that the ledger adds up: what is held is what the orders hold,
// and the balances are what was deposited.
func (k *risk) audit() error {
	if k.mode != FundsLedger {
		return nil
	}
	fits := true // no sum exceeds 64 bits
	add := func(to *Amount, n Amount) {
		fits = fits && *to <= maxTotal-n
		*to += n
	}
	held := make([]Amount, k.balances.made()+1)
	for _, m := range k.engine.markets {
		if m == nil {
			continue
		}
		for _, l := range m.book.ladders() {
			m.book.each(l, func(r ref, n *node) {
				s := m.seats.at(n.seat)
				add(&held[s.pays[n.side.index()]], n.held)
			})
		}
	}
	totals, venue := make([]assetTotal, len(k.assets)), make([]Amount, len(k.assets))
	for i := ref(1); i <= k.balances.made(); i++ {
		b := k.balances.at(i)
		if b.Held != held[i] {
			return fmt.Errorf("%w: an account's held amount is not what its orders hold", ErrSnapshotDamaged)
		}
		if b.account == 0 {
			venue[b.asset] = b.Available
			continue
		}
		add(&totals[b.asset].users, b.Available)
		add(&totals[b.asset].users, b.Held)
	}
	for i := range totals {
		totals[i].total = venue[i]
		add(&totals[i].total, totals[i].users)
		if totals[i].total != k.assets[i].total || totals[i].users != k.assets[i].users {
			return fmt.Errorf("%w: the balances of asset %d do not add up", ErrSnapshotDamaged, i)
		}
	}
	if !fits {
		return fmt.Errorf("%w: more funds than fit", ErrSnapshotDamaged)
	}
	return nil
}

// AppendSnapshot appends the whole state to dst. It must not run while a
// command is applied.
func (m *Matcher) AppendSnapshot(dst []byte) []byte {
	return appendSnapshot(dst, snapshotOfMatcher, func(w *encoder) {
		w.i64(int64(m.now))
		m.encode(w)
	})
}

// Hash returns the SHA-256 of the state.
func (m *Matcher) Hash() [32]byte { return hashOf(m.AppendSnapshot(nil)) }

// Restore replaces the state by that of a snapshot of a Matcher of the same
// instrument and MatcherConfig. On an error the Matcher is as it was.
func (m *Matcher) Restore(data []byte) error {
	r, err := openSnapshot(data, snapshotOfMatcher)
	if err != nil {
		return err
	}
	fresh, err := NewMatcher(m.book.inst, m.config)
	if err != nil {
		return err
	}
	fresh.now = Time(r.within(0, math.MaxInt64, "the clock is negative"))
	if err := fresh.decode(r); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	m.adopt(fresh)
	return nil
}

// adopt takes over the state of another Matcher, which is no longer used.
func (m *Matcher) adopt(fresh *Matcher) {
	*m = *fresh
	for _, l := range m.book.ladders() {
		l.book = &m.book
	}
	m.book.window = &m.stream.window
}

// encode leaves out ids that the next command would forget first: a duplicate
// has done so already, and must not show (DEDUP-001).
func (s *stream) encode(w *encoder, now Time) {
	w.u64(s.seq)
	v := &s.window
	n := v.n
	for n > 0 && v.slot(v.added-uint32(n)).at < now-v.span {
		n--
	}
	w.i64(int64(v.span))
	w.i64(int64(v.count))
	w.i64(int64(v.bar))
	w.u64(uint64(n))
	for i := range n {
		at := v.slot(v.added - uint32(n-i))
		w.id(&at.id)
		w.i64(int64(at.at))
	}
}

func (s *stream) decode(r *decoder, now Time) error {
	s.seq = r.u64()
	v := &s.window
	var err error
	foreign(&err, "DedupSpan", Time(r.i64()), v.span)
	foreign(&err, "DedupCount", r.i64(), int64(v.count))
	if err != nil {
		return err
	}
	v.bar = Time(r.i64())
	n := r.count(16 + 8)
	r.check(n <= v.count, "more ids than DedupCount")
	for i := range n {
		id, at := r.id(), Time(r.within(0, int64(now), "an id is of no time that was"))
		r.check(i > 0 || at >= now-v.span, "an id should have been forgotten")
		h := id.hash()
		_, twice := v.find(h, &id)
		r.check(id != (CommandID{}) && !twice, "an id is zero or comes twice")
		if r.bad != "" {
			break
		}
		v.remember(h, &id, at)
	}
	return nil
}
