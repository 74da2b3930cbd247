// What the page knows, and how the venue's messages change it. Nothing here
// draws; touch says what has to be drawn anew.

import { Book } from './book.js';
import { parse, scaleOf } from './decimal.js';
import { millis, touch } from './dom.js';

export const MAX_TRADES = 100;
export const MAX_MINUTES = 1500;
export const MAX_HISTORY = 200;
export const MAX_FILLS = 200;

/** The fewest decimals an amount of money or of an asset is shown with. */
export const MIN_DECIMALS = 2;

const LIVE = new Set(['open', 'pending']);

export const state = {
  products: new Map(), // symbol -> product
  product: null, // the one that is shown
  book: new Book(0, 0),
  trades: [], // oldest first
  minutes: [], // candles of a minute, oldest first
  older: new Map(), // interval in ms -> candles from before the feed's
  ticker: null,
  direction: 0, // of the last change of the last price: 1, -1, 0
  account: null, // {id, name, token}
  open: new Map(), // command id -> order
  history: new Map(), // command id -> order that is done
  fills: [], // newest first
  balances: new Map(), // asset -> {available, held}
  live: false, // the feed is connected
  checksum: 'none', // of the book: "none", "ok", "differs"
  /** price reads a price of the product that is shown. */
  price: (text) => parse(text, state.product.priceScale) ?? 0n,
};

/** toProduct reads an instrument as GET /products gives it. */
export function toProduct(wire) {
  const priceScale = scaleOf(wire.tick_size);
  const sizeScale = scaleOf(wire.size_step);
  const limit = (text, scale) => (text ? parse(text, scale) : null);
  return {
    symbol: wire.symbol,
    base: wire.base,
    quote: wire.quote,
    priceScale,
    sizeScale,
    quoteScale: priceScale + sizeScale, // a price times a size, exactly
    tick: parse(wire.tick_size, priceScale),
    lot: parse(wire.size_step, sizeScale),
    minPrice: limit(wire.min_price, priceScale),
    maxPrice: limit(wire.max_price, priceScale),
    minSize: limit(wire.min_size, sizeScale),
    maxSize: limit(wire.max_size, sizeScale),
    minNotional: limit(wire.min_notional, priceScale + sizeScale),
    maxNotional: limit(wire.max_notional, priceScale + sizeScale),
    takerFee: parse(wire.taker_fee ?? '0', 6) ?? 0n, // millionths
    makerFee: parse(wire.maker_fee ?? '0', 6) ?? 0n,
  };
}

/** show turns to another instrument: everything public begins anew. */
export function show(product) {
  state.product = product;
  state.book = new Book(product.priceScale, product.sizeScale);
  state.trades = [];
  state.minutes = [];
  state.older = new Map();
  state.ticker = null;
  state.direction = 0;
  state.checksum = 'none';
  touch('ladder', 'depth', 'tape', 'candles', 'ticker', 'status', 'ticket', 'orders');
}

/** toCandle reads a candle of the feed or of the API. */
export function toCandle(wire) {
  const { priceScale, sizeScale } = state.product;
  return {
    start: millis(wire.start),
    open: parse(wire.open, priceScale),
    high: parse(wire.high, priceScale),
    low: parse(wire.low, priceScale),
    close: parse(wire.close, priceScale),
    volume: parse(wire.volume, sizeScale),
    trades: wire.trades,
  };
}

/** take applies a snapshot or an update; false says that it does not fit what was there. */
export function take(msg) {
  const mine = state.product && msg.symbol === state.product.symbol;
  switch (msg.channel) {
    case 'book':
      return !mine || takeBook(msg);
    case 'trades':
      if (mine) takeTrades(msg);
      return true;
    case 'ticker':
      if (mine) takeTicker(msg);
      return true;
    case 'candles':
      if (mine) takeCandles(msg);
      return true;
    case 'orders':
      takeOrders(msg);
      return true;
    case 'balances':
      takeBalances(msg);
      return true;
  }
  return true;
}

function takeBook(msg) {
  const fits = state.book.apply(msg);
  state.checksum = fits ? (msg.checksum ? 'ok' : state.checksum) : 'differs';
  touch('ladder', 'depth', 'ticket');
  return fits;
}

function takeTrades(msg) {
  if (msg.type === 'snapshot') state.trades = [];
  const last = state.trades.at(-1);
  for (const trade of msg.trades ?? []) {
    const before = state.trades.at(-1);
    if (before) {
      const [a, b] = [state.price(before.price), state.price(trade.price)];
      if (a !== b) state.direction = b > a ? 1 : -1;
    }
    state.trades.push(trade);
  }
  state.trades.splice(0, Math.max(0, state.trades.length - MAX_TRADES));
  if (state.trades.at(-1) !== last) touch('tape', 'ticker');
}

function takeTicker(msg) {
  state.ticker = msg;
  touch('ticker');
}

function takeCandles(msg) {
  const minutes = msg.type === 'snapshot' ? [] : state.minutes;
  for (const wire of msg.candles ?? []) {
    const candle = toCandle(wire);
    // Almost always it is the last one that changes.
    let at = minutes.length;
    while (at > 0 && minutes[at - 1].start > candle.start) at--;
    const known = at > 0 && minutes[at - 1].start === candle.start;
    if (known) minutes[at - 1] = candle;
    else minutes.splice(at, 0, candle);
  }
  minutes.splice(0, Math.max(0, minutes.length - MAX_MINUTES));
  state.minutes = minutes;
  touch('candles');
}

function takeOrders(msg) {
  if (msg.type === 'snapshot') {
    for (const [id, order] of state.open) if (order.symbol === msg.symbol) state.open.delete(id);
  }
  for (const order of msg.orders ?? []) keepOrder(order);
  addFills(msg.fills ?? []);
  touch('orders', 'ladder');
}

/** keepOrder puts an order where its status belongs. What is done stays done. */
export function keepOrder(order) {
  if (LIVE.has(order.status)) {
    if (!state.history.has(order.command_id)) state.open.set(order.command_id, order);
    return;
  }
  state.open.delete(order.command_id);
  state.history.set(order.command_id, order);
  if (state.history.size > MAX_HISTORY) {
    const oldest = [...state.history.values()].reduce((a, b) => (a.updated_at < b.updated_at ? a : b));
    state.history.delete(oldest.command_id);
  }
}

export const fillKey = (fill) => `${fill.symbol}.${fill.trade_id}.${fill.order_id}`;

/** addFills adds fills that are not known yet, newest first. */
export function addFills(fills) {
  const known = new Set(state.fills.map(fillKey));
  const fresh = fills.filter((f) => !known.has(fillKey(f)));
  if (fresh.length === 0) return;
  state.fills.push(...fresh);
  state.fills.sort((a, b) => millis(b.time) - millis(a.time) || Number(b.trade_id) - Number(a.trade_id));
  state.fills.length = Math.min(state.fills.length, MAX_FILLS);
  touch('orders');
}

function takeBalances(msg) {
  for (const b of msg.balances ?? []) state.balances.set(b.asset, b);
  touch('balances', 'ticket');
}

/** forgetAccount drops everything private. */
export function forgetAccount() {
  state.account = null;
  state.open.clear();
  state.history.clear();
  state.fills = [];
  state.balances.clear();
  touch('orders', 'balances', 'ticket', 'ladder', 'account');
}
