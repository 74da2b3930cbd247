package exchange

// Most commands are limit orders without anything special that come to rest,
// and cancels and amends of such orders. Here they are dealt with in one go, so
// that nothing is looked up or decided twice. What these functions do,
// newOrder, amend and cancel would do as well, to the byte: all that is unusual,
// and all that will be refused, is left to them before anything has changed.

// addPlain reports whether it has accepted an order and put it to rest.
func (m *Matcher) addPlain(cmd *Command) bool {
	b, in, side := &m.book, m.book.inst, cmd.Side
	if !cmd.plain() || cmd.TimeInForce > Day || cmd.Account == 0 ||
		m.state != InstrumentTrading || m.killed || m.collared() ||
		uint64(cmd.Price-m.minPrice) > uint64(m.maxPrice-m.minPrice) ||
		uint64(cmd.Qty-in.minQty) > uint64(in.maxQty-in.minQty) ||
		b.live >= m.maxOrders || b.open[side]+cmd.Qty < 0 || !m.passive(side, cmd.Price) {
		return false
	}
	notional, ok := in.notional(cmd.Price, cmd.Qty)
	if !ok || notional < in.minNotional || notional > in.maxNotional {
		return false
	}
	var seat ref
	var need Amount
	keeps := false
	if m.risk != nil {
		if seat, need, ok = m.risk.addPlain(m, cmd, notional); !ok {
			return false
		}
		keeps = m.risk.mode == FundsLedger
	}

	r := b.alloc()
	c, i := b.chunks[r>>chunkBits], r&(chunkSize-1)
	n, id := &c.nodes[i], m.nextOrder
	m.nextOrder++
	flags := orderFlags(cmd.SelfTrade) | flagListed
	named := !cmd.ID.zero()
	if named || keeps {
		t := &c.tails[i]
		t.cmd, t.makerFee, t.takerFee = cmd.ID, 0, 0
		flags |= flagTail
		if named {
			flags |= flagNamed
			b.window.bind(b.window.added-1, r)
		}
		if keeps {
			t.makerFee, t.takerFee = m.makerFee, m.takerFee
		}
	}
	n.held, n.extra, n.id, n.account, n.leaves, n.qty = need, 0, id, cmd.Account, cmd.Qty, cmd.Qty
	n.seat, n.group, n.feeRem, n.side, n.kind, n.flags = seat, cmd.Group, 0, side, kindOf(Limit, cmd.TimeInForce), flags
	b.live++
	b.open[side] += cmd.Qty

	ev := m.event(m.core, EventAccepted)
	ev.Side, ev.Type, ev.TimeInForce = side, Limit, cmd.TimeInForce
	ev.ID, ev.Account, ev.OrderID, ev.Price = cmd.ID, cmd.Account, id, cmd.Price
	ev.Qty, ev.OrderQty, ev.LeavesQty = cmd.Qty, cmd.Qty, cmd.Qty

	lr, lv := b.ladder(side).level(cmd.Price)
	n.level = lr
	b.push(r, &c.links[i], lv)
	lv.orders++
	lv.shown++
	lv.total += cmd.Qty
	lv.visible += cmd.Qty
	b.ids.put(id, r)
	return true
}

// addPlain checks a plain order's account, and takes what the order needs when
// it may come.
func (k *risk) addPlain(m *Matcher, cmd *Command, notional Amount) (seat ref, need Amount, ok bool) {
	seat, s := m.seats.find(cmd.Account)
	if seat == 0 || k.engine.check != nil || s.watched || s.sized || s.orders >= s.maxOrders || cmd.Qty > s.room(cmd.Side) {
		return 0, 0, false
	}
	switch k.mode {
	case FundsHeld:
		return 0, 0, false
	case FundsLedger:
		if m.rebates {
			return 0, 0, false
		}
		// Both sides' needs, for a side is anybody's guess.
		need = Amount(cmd.Qty) * m.book.inst.lotBase
		fee, _ := feeStep(max(m.makerFee, m.takerFee), notional, 0)
		if cmd.Side == Buy {
			need = notional + fee
		}
		b := k.balances.at(s.pays[cmd.Side.index()])
		if need > b.Available {
			return 0, 0, false
		}
		b.Available -= need
		b.Held += need
	}
	s.orders++
	s.open[cmd.Side.index()] += cmd.Qty
	return seat, need, true
}

// amendPlain reports whether it has amended the order that a command means: to
// a smaller quantity, or to another price at which it rests.
func (m *Matcher) amendPlain(cmd *Command) bool {
	b, in := &m.book, m.book.inst
	p := b.ids.page(cmd.OrderID)
	if p == nil || cmd.Account == 0 || m.state != InstrumentTrading || m.killed || m.collared() ||
		int64(cmd.StopPrice)|int64(cmd.Held) != 0 {
		return false
	}
	r := p.refs[cmd.OrderID&(idPageSize-1)] // 0 when the order is named by its command
	c, i := b.chunks[r>>chunkBits], r&(chunkSize-1)
	n := &c.nodes[i]
	if r == 0 || n.account != cmd.Account || n.extra != 0 || n.flags&(flagHidden|flagPostOnly) != 0 {
		return false
	}
	lv := b.levels.at(n.level)
	price, less := lv.price, Qty(0)
	switch {
	case cmd.Price == 0 && cmd.Qty < n.qty && cmd.Qty > n.qty-n.leaves && cmd.Qty >= in.minQty:
		less = n.qty - cmd.Qty
	case cmd.Qty == 0 && cmd.Price != price && cmd.Price >= m.minPrice && cmd.Price <= m.maxPrice && m.passive(n.side, cmd.Price):
		price = cmd.Price
	default:
		return false
	}
	if checkNotional(in, price, n.qty-less, in.minNotional, in.maxNotional) != 0 {
		return false
	}
	var excess Amount
	if m.risk != nil {
		ok := false
		if excess, ok = m.risk.amendPlain(m, n, &c.tails[i], price, less); !ok {
			return false
		}
	}
	n.qty -= less
	n.leaves -= less
	b.open[n.side] -= less
	ev := m.event(m.core, EventAmended)
	ev.Account, ev.OrderID, ev.Side, ev.Reason, ev.MakerID = n.account, n.id, n.side, ByRequest, cmd.ID
	ev.Price, ev.Qty, ev.OrderQty, ev.LeavesQty, ev.Release = price, less, n.qty, n.leaves, max(excess, 0)
	if n.flags&flagNamed != 0 {
		ev.ID = c.tails[i].cmd
	}
	if less != 0 {
		lv.total -= less
		lv.visible -= less
		return true
	}
	ev.LostPlace = true
	l := b.ladder(n.side)
	b.unlink(l, r, n)
	b.append(l, r, n, price)
	return true
}

// amendPlain checks an amended order's account and brings its hold to its
// need, when it may be amended. It returns what is released; below zero: what
// is taken.
func (k *risk) amendPlain(m *Matcher, n *node, t *tail, price Price, less Qty) (excess Amount, ok bool) {
	s := m.seats.at(n.seat)
	if s.watched || s.sized || k.engine.check != nil || k.mode == FundsHeld {
		return 0, false
	}
	if k.mode == FundsLedger {
		if m.rebates {
			return 0, false
		}
		need, ok := m.book.inst.Need(&Terms{Side: n.side, Price: price, LeavesQty: n.leaves - less,
			MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem})
		b := k.balances.at(s.pays[n.side.index()])
		if excess = n.held - need; !ok || -excess > b.Available {
			return 0, false
		}
		n.held -= excess
		b.Held -= excess
		b.Available += excess
	}
	s.open[n.side.index()] -= less
	return excess, true
}

// cancelPlain reports whether it has canceled the order that a command means.
func (m *Matcher) cancelPlain(cmd *Command) bool {
	b := &m.book
	p := b.ids.page(cmd.OrderID)
	if p == nil || cmd.Account == 0 || m.state == InstrumentHalted || m.risk != nil && m.risk.suspended != 0 {
		return false
	}
	r := p.refs[cmd.OrderID&(idPageSize-1)] // 0 when the order is named by its command
	c, i := b.chunks[r>>chunkBits], r&(chunkSize-1)
	n := &c.nodes[i]
	if r == 0 || n.account != cmd.Account || n.extra != 0 || n.flags&flagHidden != 0 {
		return false
	}
	lv := b.levels.at(n.level)
	ev := m.event(m.core, EventCanceled)
	ev.Account, ev.OrderID, ev.Side, ev.Reason, ev.MakerID = n.account, n.id, n.side, ByRequest, cmd.ID
	ev.Price, ev.Qty, ev.OrderQty = lv.price, n.leaves, n.qty
	if n.flags&flagNamed != 0 {
		t := &c.tails[i]
		ev.ID = t.cmd
		b.window.unbind(&t.cmd, r)
	}
	b.open[n.side] -= n.leaves
	if m.risk != nil {
		ev.Release = m.risk.end(m, r, n)
	}
	lv.total -= n.leaves
	lv.visible -= n.leaves
	lv.shown--
	b.pull(&c.links[i], lv)
	if lv.orders--; lv.orders == 0 {
		b.ladder(n.side).remove(n.level, lv)
	}
	b.ids.take(p, n.id)
	b.live--
	b.unused = append(b.unused, r)
	return true
}
