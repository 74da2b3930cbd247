// Own orders, what became of the older ones, and fills.

import { ApiError, call, newKey } from './api.js';
import { isLimited, onGrid } from './check.js';
import { format, group, isZero, pad } from './decimal.js';
import { announce, byId, choices, make, notice, setText, timeText, touch } from './dom.js';
import { syncRows } from './table.js';
import { fillKey, MIN_DECIMALS } from './state.js';
import { SIDES, explain, failure, reasonName, stateText, typeText } from './words.js';

const DASH = '–';
const MAX_ROWS = 200; // open orders that are shown, the newest

function cell(row, name, label, className = '') {
  const td = make('td', className);
  td.dataset.cell = name;
  if (label) td.dataset.label = label;
  row.append(td);
  return td;
}

const at = (row, name) => row.querySelector(`[data-cell="${name}"]`);

function putSide(td, side) {
  const up = side === 'buy';
  if (td.firstElementChild && td.dataset.side === side) return;
  td.dataset.side = side;
  const arrow = make('span', `arrow ${up ? 'up' : 'down'}`);
  arrow.setAttribute('aria-hidden', 'true');
  const word = make('span', up ? 'up' : 'down');
  word.append(arrow, SIDES[side] ?? side);
  td.replaceChildren(word);
}

export class Orders {
  constructor(state) {
    this.state = state;
    this.busy = new Set(); // command ids of orders a request is under way for
    this.tab = 'open';
    this.tabs = choices(document.querySelector('[role="tablist"]'), 'aria-selected', (button) => {
      this.tab = button.id.slice('tab-'.length);
      for (const name of ['open', 'fills', 'history']) byId(`pane-${name}`).hidden = name !== this.tab;
    });
    byId('cancel-all').addEventListener('click', () => this.askCancelAll());
    byId('confirm-yes').addEventListener('click', () => this.#cancelAll());
    byId('amend').addEventListener('input', (e) => {
      setText(byId(`e-${e.target.id}`), '');
      e.target.setAttribute('aria-invalid', 'false');
    });
    byId('amend').addEventListener('submit', (e) => {
      e.preventDefault();
      this.#amend();
    });
  }

  /** focus shows the open orders and puts the keyboard on the first one's button. */
  focus() {
    this.tabs(byId('tab-open'));
    (byId('open-orders').querySelector('button') ?? byId('pane-open')).focus();
  }

  draw() {
    const { open, history, fills, account } = this.state;
    const newest = (a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0);
    const live = [...open.values()].sort(newest);
    const done = [...history.values()].sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
    syncRows(byId('open-orders'), live.slice(0, MAX_ROWS), (o) => o.command_id, () => this.#openRow(), (row, o) => this.#fillOrder(row, o));
    syncRows(byId('history'), done, (o) => o.command_id, () => this.#doneRow(), (row, o) => this.#fillDone(row, o));
    syncRows(byId('fills'), fills, fillKey, () => this.#fillRow(), (row, f) => this.#fillFill(row, f));
    setText(byId('n-open'), String(live.length));
    byId('cancel-all').disabled = live.length === 0;
    const say = (id, empty, words) => {
      byId(id).hidden = !empty;
      setText(byId(id), account ? words : byId(id).dataset.out);
    };
    for (const id of ['open-empty', 'fills-empty', 'history-empty']) byId(id).dataset.out ??= byId(id).textContent;
    const rest = live.length - MAX_ROWS;
    say('open-empty', live.length === 0 || rest > 0, rest > 0 ? `And ${rest} older ones.` : 'No open orders.');
    say('fills-empty', fills.length === 0, 'Nothing has traded yet.');
    say('history-empty', done.length === 0, 'Nothing has ended yet.');
  }

  #number(text, scale) {
    return isZero(text) ? DASH : pad(text, scale);
  }

  #common(row) {
    cell(row, 'time', '', 'num muted');
    cell(row, 'symbol', '');
    cell(row, 'side', '');
    cell(row, 'type', 'Type');
    cell(row, 'price', 'Price', 'r num');
    cell(row, 'size', 'Size', 'r num');
    cell(row, 'filled', 'Filled', 'r num');
  }

  #openRow() {
    const row = make('tr');
    this.#common(row);
    cell(row, 'state', 'State');
    const actions = cell(row, 'actions', '', 'actions');
    for (const [name, text] of [['amend', 'Amend'], ['cancel', 'Cancel']]) {
      const button = make('button', '', text);
      button.type = 'button';
      button.dataset.act = name;
      button.addEventListener('click', () => {
        const order = this.state.open.get(row.dataset.key);
        if (order && !this.busy.has(order.command_id)) name === 'cancel' ? this.#cancel(order) : this.#askAmend(order);
      });
      actions.append(button);
    }
    return row;
  }

  #fillOrder(row, o) {
    const product = this.state.products.get(o.symbol);
    const priceScale = product?.priceScale ?? 0;
    const sizeScale = product?.sizeScale ?? 0;
    setText(at(row, 'time'), timeText(o.created_at));
    setText(at(row, 'symbol'), o.symbol);
    putSide(at(row, 'side'), o.side);
    setText(at(row, 'type'), typeText(o));
    // The price of a market type is no more than what bounds it.
    const limited = isLimited(o.type) || (o.type === 'market_to_limit' && o.status === 'open');
    const price = limited ? this.#number(o.price, priceScale) : 'Market';
    const stop = this.#number(o.stop_price, priceScale);
    setText(at(row, 'price'), price);
    setText(at(row, 'size'), o.size ? this.#number(o.size, sizeScale) : `${this.#number(o.funds, MIN_DECIMALS)} ${product?.quote ?? ''}`);
    setText(at(row, 'filled'), pad(o.filled, sizeScale));
    if (!at(row, 'state')) return;
    const state = o.status === 'pending' ? `Trigger ${stop}` : stateText(o);
    setText(at(row, 'state'), this.busy.has(o.command_id) ? 'Sending…' : state);
    const words = `${SIDES[o.side]} ${o.size || o.funds} ${o.symbol}, ${isLimited(o.type) ? o.price : 'market'}`;
    for (const button of row.querySelectorAll('button')) {
      // Not disabled: that would take the keyboard's focus away.
      button.setAttribute('aria-disabled', String(this.busy.has(o.command_id)));
      button.setAttribute('aria-label', `${button.textContent}: ${words}`);
    }
  }

  #doneRow() {
    const row = make('tr');
    this.#common(row);
    const td = cell(row, 'became', '', 'reason');
    td.append(make('strong'), make('span'));
    return row;
  }

  #fillDone(row, o) {
    this.#fillOrder(row, o);
    const td = at(row, 'became');
    const [state, why] = td.children;
    const reason = reasonName(o.reason);
    setText(state, stateText(o));
    state.className = o.status === 'rejected' ? 'bad' : '';
    const told = reason && reason !== 'requested' && o.status !== 'filled';
    setText(why, told ? `: ${reason}. ${explain(reason)}` : '');
  }

  #fillRow() {
    const row = make('tr');
    cell(row, 'time', '', 'num muted');
    cell(row, 'symbol', '');
    cell(row, 'side', '');
    cell(row, 'price', 'Price', 'r num');
    cell(row, 'size', 'Size', 'r num');
    cell(row, 'fee', 'Fee', 'r num');
    cell(row, 'role', 'Role');
    return row;
  }

  #fillFill(row, f) {
    const product = this.state.products.get(f.symbol);
    setText(at(row, 'time'), timeText(f.time));
    setText(at(row, 'symbol'), f.symbol);
    putSide(at(row, 'side'), f.side);
    setText(at(row, 'price'), pad(f.price, product?.priceScale ?? 0));
    setText(at(row, 'size'), pad(f.size, product?.sizeScale ?? 0));
    setText(at(row, 'fee'), `${pad(f.fee, MIN_DECIMALS)} ${product?.quote ?? ''}`);
    setText(at(row, 'role'), f.liquidity === 'maker' ? 'Maker' : 'Taker');
  }

  async #request(order, send, done) {
    this.busy.add(order.command_id);
    touch('orders');
    try {
      done(await send());
    } finally {
      this.busy.delete(order.command_id);
      touch('orders');
    }
  }

  async #cancel(order) {
    const what = `${SIDES[order.side]} ${order.size || order.funds} ${order.symbol}`;
    try {
      await this.#request(
        order,
        () => call('DELETE', `/orders/${encodeURIComponent(order.id)}`, { key: newKey() }),
        (answer) => {
          if (answer?.status !== 'rejected') return announce(`${what} canceled`);
          const why = reasonName(answer.reason ?? answer.code);
          notice('error', `${what}: not canceled, ${why}.`, explain(why));
        },
      );
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      notice('error', `${what}: not canceled.`, failure(err));
    }
  }

  /** askCancelAll asks, and then cancels every open order. */
  askCancelAll() {
    const n = this.state.open.size;
    if (n === 0) return;
    setText(byId('confirm-what'), n === 1 ? 'One open order, in every instrument.' : `${n} open orders, in every instrument.`);
    byId('d-confirm').showModal();
  }

  async #cancelAll() {
    byId('d-confirm').close();
    try {
      await call('DELETE', '/orders', { key: newKey() });
      notice('good', 'All orders canceled.');
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      notice('error', 'Not all orders were canceled.', failure(err));
    }
  }

  #askAmend(order) {
    const product = this.state.products.get(order.symbol);
    this.amending = order;
    setText(byId('amend-what'), `${SIDES[order.side]} ${pad(order.size, product.sizeScale)} ${order.symbol}, ${typeText(order).toLowerCase()}; ${pad(order.filled, product.sizeScale)} filled.`);
    const scaled = (text, scale) => (isZero(text) ? '' : pad(text, scale).replaceAll(',', ''));
    const put = (name, value, shown) => {
      byId(`amend-${name}`).value = value;
      setText(byId(`e-amend-${name}`), '');
      byId(`amend-${name}`).setAttribute('aria-invalid', 'false');
      if (name !== 'size') byId(`amend-${name}-field`).hidden = !shown;
    };
    put('price', scaled(order.price, product.priceScale), !isZero(order.price));
    put('stop', scaled(order.stop_price, product.priceScale), order.status === 'pending');
    put('size', scaled(order.size, product.sizeScale), true);
    setText(byId('amend-error'), '');
    byId('d-amend').showModal();
    (byId('amend-price-field').hidden ? byId('amend-size') : byId('amend-price')).select();
  }

  async #amend() {
    const order = this.amending;
    const product = this.state.products.get(order.symbol);
    const body = {};
    let wrong = false;
    const read = (name, field, old, scale, step, min, max, what) => {
      const input = byId(`amend-${name}`);
      if (name !== 'size' && byId(`amend-${name}-field`).hidden) return;
      const [units, error] = onGrid(input.value, scale, step, min, max, what);
      setText(byId(`e-amend-${name}`), error);
      input.setAttribute('aria-invalid', String(error !== ''));
      if (error) {
        if (!wrong) input.focus();
        wrong = true;
      } else if (pad(format(units, scale), scale) !== pad(old, scale)) {
        body[field] = format(units, scale);
      }
    };
    const { priceScale, sizeScale } = product;
    read('stop', 'stop_price', order.stop_price, priceScale, product.tick, product.minPrice, product.maxPrice, 'stop price');
    read('price', 'price', order.price, priceScale, product.tick, product.minPrice, product.maxPrice, 'price');
    read('size', 'size', order.size, sizeScale, product.lot, null, product.maxSize, 'size');
    if (wrong) return;
    if (Object.keys(body).length === 0) return setText(byId('amend-error'), 'Nothing is changed yet.');
    setText(byId('amend-error'), '');
    try {
      await this.#request(
        order,
        () => call('PATCH', `/orders/${encodeURIComponent(order.id)}`, { body, key: newKey() }),
        (answer) => {
          if (answer?.status === 'rejected') {
            const why = reasonName(answer.reason ?? answer.code);
            return setText(byId('amend-error'), `Refused: ${why}. ${explain(why)}`);
          }
          byId('d-amend').close();
          announce(`Order amended to ${group(body.size ?? order.size)} at ${group(body.price ?? order.price ?? '')}`);
        },
      );
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      setText(byId('amend-error'), `Not amended. ${failure(err)}`);
    }
  }
}
