// The order ticket.

import { ApiError, call, newKey } from './api.js';
import { affordable, checkOrder, feeUp, isLimited, isTriggered, inQuote, takesFunds, timesFor, walk } from './check.js';
import { format, group, pad, parse, scaleOf } from './decimal.js';
import { byId, make, setText, touch } from './dom.js';
import { MIN_DECIMALS } from './state.js';
import { SIDES, TYPES, explain, failure, reasonName, sentence } from './words.js';

const FIELDS = {
  stop_price: ['ticket-stop', 'e-stop'],
  price: ['ticket-price', 'e-price'],
  size: ['ticket-size', 'e-size'],
  expire_time: ['ticket-expire', 'e-expire'],
  display_size: ['ticket-display', 'e-display'],
  min_size: ['ticket-min', 'e-min'],
};
/** Which field of the ticket an error of the API belongs to. */
const FIELD_OF = { funds: 'size', qty: 'size', stop: 'stop_price' };
const QUOTE_DECIMALS_MAX = 8;

export class Ticket {
  /** signIn is called when an order is sent and nobody is signed in. */
  constructor(state, signIn) {
    this.state = state;
    this.signIn = signIn;
    this.form = byId('ticket');
    this.touched = new Set();
    this.sending = false;
    this.unsent = null; // {key, text} of a request nobody answered
    this.time = 'GTC'; // the time in force as it was chosen, which not every type allows
    this.form.addEventListener('input', () => this.#changed());
    this.form.addEventListener('change', (e) => {
      if (e.target.name === 'time_in_force') this.time = e.target.value;
      if (FIELDS[e.target.name]) this.touched.add(e.target.name);
      this.#changed();
    });
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      this.#submit();
    });
    this.form.addEventListener('keydown', (e) => this.#step(e));
    for (const button of this.form.querySelectorAll('[data-share]')) {
      button.addEventListener('click', () => this.#share(BigInt(button.dataset.share)));
    }
  }

  /** reset prepares for another instrument: its units, and nothing filled in. */
  reset() {
    const { product } = this.state;
    for (const name of Object.keys(FIELDS)) this.#input(name).value = '';
    this.touched.clear();
    this.unsent = null;
    for (const unit of this.form.querySelectorAll('[data-unit]')) setText(unit, product[unit.dataset.unit]);
    const [base, quote] = byId('ticket-size-in').options;
    setText(base, product.base);
    setText(quote, `${product.quote} to spend`);
    setText(byId('ticket-symbol'), product.symbol);
    this.#say('', '');
    touch('ticket');
  }

  /** setPrice fills in the price, as from the ladder. */
  setPrice(text) {
    const input = this.#input('price');
    if (this.fields.type === 'market') byId('ticket-type').value = 'limit';
    input.value = text;
    this.touched.add('price');
    this.#changed();
  }

  side(side) {
    this.form.elements.side.value = side;
    this.#changed();
  }

  get fields() {
    const { elements } = this.form;
    const text = (name) => elements[name].value;
    return {
      side: elements.side.value,
      type: text('type'),
      price: text('price'),
      stop_price: text('stop_price'),
      size: text('size'),
      size_in: text('size_in'),
      time_in_force: text('time_in_force'),
      post_only: text('post_only'),
      expire_time: text('expire_time'),
      display_size: text('display_size'),
      min_size: text('min_size'),
      self_trade_prevention: text('self_trade_prevention'),
      hidden: elements.hidden.checked,
    };
  }

  #input(name) {
    return byId(FIELDS[name][0]);
  }

  #changed() {
    touch('ticket');
  }

  // #step: arrows move a number by its tick or lot, with Shift by ten.
  #step(e) {
    const way = { ArrowUp: 1n, ArrowDown: -1n }[e.key];
    const name = e.target.name;
    if (!way || !['price', 'stop_price', 'size', 'display_size', 'min_size'].includes(name)) return;
    e.preventDefault();
    const { product } = this.state;
    const priced = name === 'price' || name === 'stop_price';
    const [scale, unit] = priced ? [product.priceScale, product.tick] : [product.sizeScale, product.lot];
    let units = parse(e.target.value, scale);
    if (units === null && priced) {
      const { bids, asks } = this.state.book;
      const best = this.fields.side === 'buy' ? bids[0] ?? asks[0] : asks[0] ?? bids[0];
      units = best ? best.price - way * unit : 0n;
    }
    units = (units ?? 0n) + way * unit * (e.shiftKey ? 10n : 1n);
    if (units < unit) units = unit;
    e.target.value = format(units - (units % unit), scale);
    this.#changed();
  }

  #share(percent) {
    const { product, balances, book } = this.state;
    const fields = this.fields;
    const checked = checkOrder(fields, product, Date.now());
    const have = (asset, scale) => {
      const text = balances.get(asset)?.available ?? '0';
      const own = scaleOf(text);
      const units = parse(text, own);
      return own > scale ? units / 10n ** BigInt(own - scale) : units * 10n ** BigInt(scale - own);
    };
    let value;
    if (fields.side === 'sell') {
      const size = (have(product.base, product.sizeScale) * percent) / 100n;
      value = format(size - (size % product.lot), product.sizeScale);
    } else {
      const budget = (have(product.quote, product.quoteScale) * percent) / 100n;
      if (takesFunds(fields.type, fields.side) && fields.size_in === 'funds') {
        value = format(budget, product.quoteScale, 0);
      } else {
        const price = checked.price ?? (isLimited(fields.type) ? book.asks[0]?.price ?? null : null);
        value = format(affordable(budget, product, price, book.asks), product.sizeScale);
      }
    }
    this.#input('size').value = value;
    this.touched.add('size');
    this.#changed();
  }

  draw() {
    const { product, account } = this.state;
    if (!product) return;
    const f = this.fields;
    const limited = isLimited(f.type);
    const show = (name, on) => {
      this.form.querySelector(`[data-field="${name}"]`).hidden = !on;
    };
    const times = timesFor(f.type);
    for (const option of byId('ticket-tif').options) option.hidden = option.disabled = !times.includes(option.value);
    byId('ticket-tif').value = f.time_in_force = times.includes(this.time) ? this.time : times[0];
    const immediate = f.time_in_force === 'IOC' || f.time_in_force === 'FOK';
    show('stop_price', isTriggered(f.type));
    show('size_in', takesFunds(f.type, f.side));
    show('post_only', limited && !immediate);
    show('display_size', limited && !immediate && !f.hidden);
    show('hidden', limited && !immediate);
    show('min_size', !(limited && f.post_only));
    show('expire_time', f.time_in_force === 'GTD');
    const spends = takesFunds(f.type, f.side) && f.size_in === 'funds';
    setText(byId('l-price'), limited ? 'Price' : 'Worst price (may stay empty)');
    setText(byId('l-size'), spends ? 'Amount to spend' : 'Size');
    setText(byId('u-size'), spends ? product.quote : product.base);
    const checked = checkOrder(this.fields, product, Date.now());
    for (const [name, [input, error]] of Object.entries(FIELDS)) {
      const text = this.touched.has(name) ? checked.errors[name] ?? '' : '';
      setText(byId(error), text);
      byId(input).setAttribute('aria-invalid', String(text !== ''));
    }
    this.#summary(f);
    this.#sums(f, checked);
    const submit = byId('submit');
    submit.className = `submit ${f.side}`;
    submit.disabled = this.sending;
    setText(submit, this.sending ? 'Sending…' : account ? `${SIDES[f.side]} ${product.base}` : 'Sign in to trade');
  }

  #summary(f) {
    const parts = [f.time_in_force];
    const limited = isLimited(f.type) && !['IOC', 'FOK'].includes(parts[0]);
    if (limited && f.post_only) parts.push('post only');
    if (limited && f.hidden) parts.push('hidden');
    else if (limited && f.display_size.trim()) parts.push('iceberg');
    if (f.min_size.trim()) parts.push('at least');
    if (f.self_trade_prevention) parts.push(f.self_trade_prevention === 'none' ? 'self-trades' : 'self-trade guard');
    setText(byId('more-summary'), parts.join(' · '));
  }

  #sums(f, checked) {
    const { product, book, balances, account } = this.state;
    const decimals = Math.max(MIN_DECIMALS, Math.min(QUOTE_DECIMALS_MAX, product.quoteScale, product.priceScale));
    let total = null;
    let estimate = false;
    if (checked.funds !== null) {
      total = checked.funds;
    } else if (checked.size !== null && checked.price !== null) {
      total = checked.size * checked.price;
    } else if (checked.size !== null && f.type.startsWith('market')) {
      const levels = f.side === 'buy' ? book.asks : book.bids;
      const walked = walk(levels, checked.size);
      if (walked.filled > 0n) total = walked.cost;
      estimate = true;
    }
    setText(byId('s-total-label'), estimate ? 'Total, at the book as it is' : 'Total');
    setText(byId('s-total'), total === null ? '–' : `${estimate ? '≈ ' : ''}${inQuote(total, product, decimals)} ${product.quote}`);
    const fee = total === null || checked.funds !== null ? null : feeUp(total, checked.order.post_only ? product.makerFee : product.takerFee);
    setText(byId('s-fee'), checked.funds !== null ? 'included' : fee === null ? '–' : `${inQuote(fee, product, decimals)} ${product.quote}`);
    const asset = f.side === 'buy' ? product.quote : product.base;
    const have = balances.get(asset);
    const available = byId('s-available');
    setText(available, account ? `${pad(have?.available ?? '0', MIN_DECIMALS)} ${asset}` : '–');
    const needs = f.side === 'buy' ? (total === null ? null : total + (fee ?? 0n)) : checked.size;
    const scale = f.side === 'buy' ? product.quoteScale : product.sizeScale;
    const own = scaleOf(have?.available ?? '0');
    const big = Math.max(scale, own);
    const short =
      account && needs !== null && parse(have?.available ?? '0', big) < needs * 10n ** BigInt(big - scale);
    available.className = short ? 'num down' : 'num';
    if (short) available.append(make('span', '', ' (too little)'));
  }

  #say(kind, text) {
    const el = byId('outcome');
    el.dataset.kind = kind;
    setText(el, text);
  }

  async #submit() {
    const { product, account } = this.state;
    if (this.sending) return;
    if (!account) return this.signIn();
    const checked = checkOrder(this.fields, product, Date.now());
    const wrong = Object.keys(FIELDS).filter((name) => checked.errors[name]);
    if (wrong.length > 0) {
      for (const name of wrong) this.touched.add(name);
      this.#changed();
      if (this.#input(wrong[0]).closest('details')) byId('more').open = true;
      this.#input(wrong[0]).focus();
      return this.#say('error', `Not sent. ${checked.errors[wrong[0]]}`);
    }
    // The same order after a lost answer goes out under the same key, so that
    // it cannot be placed twice.
    const text = JSON.stringify(checked.order);
    const key = this.unsent?.text === text ? this.unsent.key : newKey();
    this.unsent = { key, text };
    this.sending = true;
    this.#say('', 'Sending…');
    touch('ticket');
    try {
      const answer = await call('POST', '/orders', { body: { client_order_id: key, ...checked.order } });
      this.unsent = null;
      this.#outcome(checked.order, answer);
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      if (!err.doubtful) this.unsent = null;
      this.#refused(err);
    } finally {
      this.sending = false;
      touch('ticket');
    }
  }

  #refused(err) {
    const name = FIELD_OF[err.field] ?? err.field;
    if (FIELDS[name]) this.#input(name).focus();
    this.#say('error', err.doubtful ? `${failure(err)} Send it again: it will not be placed twice.` : `Refused: ${failure(err)}`);
  }

  #outcome(order, answer) {
    const amount = order.size ? `${pad(order.size, 0)} ${this.state.product.base}` : `for ${pad(order.funds, 0)} ${this.state.product.quote}`;
    const what = `${SIDES[order.side]} ${amount}, ${TYPES[order.type].toLowerCase()}${isLimited(order.type) ? ` ${group(order.price)}` : ''}`;
    const why = reasonName(answer.reason ?? answer.code);
    switch (answer.status) {
      case 'rejected':
        return this.#say('error', `Refused: ${sentence(why)} ${explain(why)}`.trim());
      case 'canceled':
        if (why === 'funds exhausted') return this.#say('good', `${what}: done. ${explain(why)}`);
      // falls through
      case 'expired':
        return this.#say('error', `${what}: ${answer.status}, ${why}. ${explain(why)}`.trim());
      case 'filled':
        return this.#say('good', `${what}: filled.`);
      case 'pending':
        return this.#say('good', `${what}: waits for its trigger.`);
      default:
        return this.#say('good', `${what}: ${answer.status ?? 'taken'}.`);
    }
  }
}
