// Puts the page together.

import { Account } from './account.js';
import { ApiError, call } from './api.js';
import { CandleChart } from './candles.js';
import { DepthChart } from './depth.js';
import { announce, byId, choices, make, notice, painter, painting, setText, touch } from './dom.js';
import { Feed } from './feed.js';
import { shortcuts } from './keys.js';
import { Ladder } from './ladder.js';
import { Orders } from './orders.js';
import { show, state, take, toCandle, toProduct } from './state.js';
import { Status } from './status.js';
import { Tape } from './tape.js';
import { Ticket } from './ticket.js';
import { failure, sentence } from './words.js';

const PUBLIC = ['book', 'trades', 'ticker', 'candles'];
const INTERVALS = { 1: '1m', 5: '5m', 15: '15m', 60: '1h' };
const OLDER = 500; // candles asked for at a time
const RETRY_MS = 1500;
const SYMBOL_STORE = 'exchange.symbol';

const feed = new Feed(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`, {
  onState(now, detail) {
    status.connection(now, detail);
    touch('status', 'ladder');
  },
  onMessage(msg) {
    tellFills(msg);
    return take(msg);
  },
  onAuth(ok, error) {
    if (!ok) return account.signOut(sentence(error.message) || 'The sign-in is no longer valid.');
    feed.subscribe('orders');
    feed.subscribe('balances');
    account.catchUp();
    touch('status');
  },
  onError(error) {
    notice('error', 'The feed complains.', sentence(error.message ?? error.code));
  },
  onChange: () => touch('status'),
});

const account = new Account(state, feed);
const status = new Status(state, feed);
const ticket = new Ticket(state, () => account.open());
const ladder = new Ladder(state, (price) => {
  ticket.setPrice(price);
  view('trade');
  announce(`Price ${price} is in the ticket`);
});
const orders = new Orders(state);
const tape = new Tape(state);
const candles = new CandleChart(state);
const depth = new DepthChart(state);

painter('ladder', () => ladder.draw());
painter('tape', () => tape.draw());
painter('candles', () => candles.draw());
painter('depth', () => depth.draw());
painter('ticket', () => ticket.draw());
painter('orders', () => orders.draw());
painter('balances', () => account.drawBalances());
painter('account', () => account.drawAccount());
painter('ticker', () => status.drawTicker());
painter('status', () => status.draw());

// tellFills says what own resting orders have traded; the ticket tells of the
// others itself.
function tellFills(msg) {
  if (msg.channel !== 'orders' || msg.type !== 'update') return;
  for (const fill of msg.fills ?? []) {
    if (fill.liquidity !== 'maker') continue;
    const base = state.products.get(fill.symbol)?.base ?? fill.symbol;
    notice('good', `${fill.side === 'buy' ? 'Bought' : 'Sold'} ${fill.size} ${base} at ${fill.price}.`);
  }
}

function view(name) {
  document.body.dataset.view = name;
  for (const button of document.querySelectorAll('.views button')) {
    if (button.dataset.view === name) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
  }
}

function select(symbol) {
  const product = state.products.get(symbol);
  if (state.product) for (const channel of PUBLIC) feed.unsubscribe(channel, state.product.symbol);
  show(product);
  byId('symbol').value = symbol;
  ladder.reset();
  ticket.reset();
  for (const channel of PUBLIC) feed.subscribe(channel, symbol);
  older(minutes);
  try {
    sessionStorage.setItem(SYMBOL_STORE, symbol);
  } catch {
    // Then the next load begins with the first one.
  }
}

let minutes = 1;

// older asks for the candles from before the feed's, once an instrument and interval.
async function older(length) {
  const { product } = state;
  const ms = length * 60000;
  if (!product || state.older.has(ms)) return;
  state.older.set(ms, []);
  try {
    const answer = await call('GET', `/products/${product.symbol}/candles?interval=${INTERVALS[length]}&limit=${OLDER}`);
    if (state.product !== product) return;
    state.older.set(ms, answer.candles.map(toCandle).sort((a, b) => a.start - b.start));
    touch('candles');
  } catch (err) {
    if (!(err instanceof ApiError)) throw err;
    state.older.delete(ms);
    notice('error', 'Older candles could not be read.', failure(err));
  }
}

choices(byId('intervals'), 'aria-checked', (button) => {
  minutes = Number(button.dataset.minutes);
  candles.interval(minutes);
  older(minutes);
});

document.querySelector('.skip').addEventListener('click', () => view('trade'));
byId('symbol').addEventListener('change', (e) => select(e.target.value));
for (const button of document.querySelectorAll('.views button')) {
  button.addEventListener('click', () => view(button.dataset.view));
}
for (const button of document.querySelectorAll('dialog [data-close]')) {
  button.addEventListener('click', () => button.closest('dialog').close());
}
byId('help').addEventListener('click', () => byId('d-help').showModal());

const SCHEMES = { system: 'as the system', light: 'light', dark: 'dark' };
function scheme() {
  try {
    return localStorage.getItem('theme') ?? 'system';
  } catch {
    return 'system';
  }
}
function nameScheme() {
  byId('theme').setAttribute('aria-label', `Colours: ${SCHEMES[scheme()]}`);
}
byId('theme').addEventListener('click', () => {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  try {
    if (next === system) localStorage.removeItem('theme');
    else localStorage.setItem('theme', next);
    document.dispatchEvent(new Event('themechosen'));
  } catch {
    document.documentElement.dataset.theme = next; // until the page is loaded anew
    document.dispatchEvent(new Event('themechange'));
  }
  nameScheme();
  announce(`Colours: ${SCHEMES[scheme()]}`);
});
nameScheme();

const focus = (name, id) => {
  view(name);
  byId(id).focus();
  byId(id).select?.();
};
shortcuts({
  b: () => ticket.side('buy'),
  s: () => ticket.side('sell'),
  t: () => focus('trade', 'ticket-type'),
  p: () => focus('trade', 'ticket-price'),
  q: () => focus('trade', 'ticket-size'),
  i: () => byId('symbol').focus(),
  l: () => {
    view('book');
    ladder.focus();
  },
  o: () => {
    view('orders');
    orders.focus();
  },
  x: () => orders.askCancelAll(),
  '?': () => byId('d-help').showModal(),
});

// The first candle of a new minute is due even when nothing trades.
setInterval(() => touch('candles'), 5000);

async function start() {
  try {
    const answer = await call('GET', '/products');
    const list = answer.products.map(toProduct);
    for (const product of list) state.products.set(product.symbol, product);
    byId('symbol').replaceChildren(
      ...list.map((p) => {
        const option = make('option', '', p.symbol);
        option.value = p.symbol;
        return option;
      }),
    );
    let symbol = null;
    try {
      symbol = sessionStorage.getItem(SYMBOL_STORE);
    } catch {
      // The first one, then.
    }
    select(state.products.has(symbol) ? symbol : list[0].symbol);
    account.resume();
    feed.start();
    touch('account', 'orders', 'balances', 'status');
  } catch (err) {
    if (!(err instanceof ApiError)) throw err;
    setText(byId('f-state'), failure(err));
    setTimeout(start, RETRY_MS);
  }
}

// For tests and for the curious: what the page knows, and a way to lose the connection.
globalThis.exchange = { state, feed, painting };

start();
