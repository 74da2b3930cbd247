// The order book as a ladder: fixed rows that are filled anew in every frame,
// so that nothing moves and a focused row stays where it is.

import { format, group, ratio } from './decimal.js';
import { grouped } from './book.js';
import { byId, make, onResize, setText, touch } from './dom.js';

/** What prices may be grouped by, in ticks; never by more than a part of the price. */
const GROUPINGS = [1n, 10n, 100n, 500n, 1000n, 5000n, 10000n];
const GROUPING_PARTS = 100n;
const MAX_ROWS = 60;

export class Ladder {
  /** pick is called with the price, as text, of a row that was chosen. */
  constructor(state, pick) {
    this.state = state;
    this.pick = pick;
    this.sides = {
      asks: { box: byId('asks'), rows: [], up: true, name: 'Sell' },
      bids: { box: byId('bids'), rows: [], up: false, name: 'Buy' },
    };
    this.step = 1n;
    this.focused = null;
    for (const side of Object.values(this.sides)) {
      onResize(side.box, () => this.#fit(side));
      side.box.addEventListener('click', (e) => this.#take(e.target.closest('.lv')));
      side.box.addEventListener('focusin', (e) => this.#rove(e.target.closest('.lv')));
    }
    byId('ladder').addEventListener('keydown', (e) => this.#key(e));
    byId('group').addEventListener('change', (e) => {
      this.step = BigInt(e.target.value);
      touch('ladder');
    });
  }

  /** reset prepares for another instrument. */
  reset() {
    const { product } = this.state;
    this.step = product.tick;
    this.#groupings(0n);
    setText(byId('lh-price'), `Price (${product.quote})`);
    setText(byId('lh-size'), `Size (${product.base})`);
    touch('ladder');
  }

  // #groupings offers what makes sense for a price; 0 is not known yet.
  #groupings(price) {
    const { product } = this.state;
    this.grouped = price > 0n;
    const options = GROUPINGS.map((n) => n * product.tick)
      .filter((step, i) => i === 0 || step * GROUPING_PARTS <= price)
      .map((step) => {
        const option = make('option', '', format(step, product.priceScale, 0));
        option.value = String(step);
        return option;
      });
    byId('group').replaceChildren(...options);
  }

  /** focus puts the keyboard on the best bid. */
  focus() {
    const row = this.focused ?? this.sides.bids.rows[0];
    row?.el.focus();
  }

  // #fit gives a side as many rows as its height has room for. Rows of the
  // asks lie bottom up: row 0 is always the best price.
  #fit(side) {
    if (side.box.clientHeight === 0) return; // it is not in view
    if (side.rows.length === 0) this.#add(side);
    const height = side.rows[0].el.offsetHeight;
    const count = Math.max(1, Math.min(MAX_ROWS, Math.floor(side.box.clientHeight / height)));
    while (side.rows.length > count) side.rows.pop().el.remove();
    while (side.rows.length < count) this.#add(side);
    if (!this.focused?.el.isConnected) this.#rove(this.sides.bids.rows[0]?.el);
    touch('ladder');
  }

  #add(side) {
    const el = make('div', 'lv');
    el.setAttribute('role', 'row');
    el.tabIndex = -1;
    const bar = make('span', 'bar');
    bar.setAttribute('aria-hidden', 'true');
    const cells = ['px num', 'sz num', 'tot num'].map((name) => {
      const cell = make('span', name);
      cell.setAttribute('role', 'gridcell');
      return cell;
    });
    el.append(...cells, bar);
    if (side.up) side.box.prepend(el);
    else side.box.append(el);
    side.rows.push({ el, bar, px: cells[0], sz: cells[1], tot: cells[2], price: null });
  }

  #rove(el) {
    const row = this.#all().find((r) => r.el === el);
    if (!row || row === this.focused) return;
    if (this.focused) this.focused.el.tabIndex = -1;
    row.el.tabIndex = 0;
    this.focused = row;
  }

  #all() {
    return [...[...this.sides.asks.rows].reverse(), ...this.sides.bids.rows];
  }

  #key(e) {
    if (e.key === 'Enter' || e.key === ' ') {
      e.preventDefault();
      return this.#take(document.activeElement);
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    const all = this.#all();
    const next = all[all.findIndex((r) => r.el === document.activeElement) + step];
    next?.el.focus();
  }

  #take(el) {
    const row = this.#all().find((r) => r.el === el);
    if (row?.price !== null && row) this.pick(format(row.price, this.state.product.priceScale));
  }

  draw() {
    const { book, product, open, live } = this.state;
    if (!product) return;
    const some = book.bids[0] ?? book.asks[0];
    if (some && !this.grouped) this.#groupings(some.price);
    const own = { buy: new Set(), sell: new Set() };
    for (const order of open.values()) {
      if (order.symbol === product.symbol && order.status === 'open') own[order.side]?.add(this.#step(order));
    }
    const asks = grouped(book.asks, this.step, this.sides.asks.rows.length, true);
    const bids = grouped(book.bids, this.step, this.sides.bids.rows.length, false);
    const most = [asks, bids].map((l) => l.at(-1)?.total ?? 0n).reduce((a, b) => (a > b ? a : b));
    this.#fill(this.sides.asks, asks, most, own.sell);
    this.#fill(this.sides.bids, bids, most, own.buy);
    const best = { bid: book.bids[0], ask: book.asks[0] };
    setText(byId('m-spread'), best.bid && best.ask ? group(format(best.ask.price - best.bid.price, product.priceScale)) : '–');
    byId('old').hidden = live;
    byId('m-spread').parentElement.hidden = !live;
    byId('ladder-empty').hidden = !book.ready || Boolean(best.bid || best.ask);
  }

  // #step is the row an own order's price falls into.
  #step(order) {
    const price = this.state.price(order.price);
    const rest = price % this.step;
    return String(price - rest + (order.side === 'sell' && rest ? this.step : 0n));
  }

  #fill(side, levels, most, own) {
    const { product } = this.state;
    side.rows.forEach((row, i) => {
      const level = levels[i];
      row.el.classList.toggle('off', !level);
      row.el.classList.toggle('own', Boolean(level) && own.has(String(level.price)));
      row.price = level ? level.price : null;
      setText(row.px, level ? group(format(level.price, product.priceScale)) : '');
      setText(row.sz, level ? group(format(level.size, product.sizeScale)) : '');
      setText(row.tot, level ? group(format(level.total, product.sizeScale)) : '');
      const scale = `scaleX(${level ? ratio(level.total, most) : 0})`;
      if (row.bar.style.transform !== scale) row.bar.style.transform = scale;
    });
  }
}
