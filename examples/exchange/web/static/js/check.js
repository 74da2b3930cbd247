// The rules of an order that the page can check before the venue does, in the
// order in which a person fills in the ticket. The venue has the last word.

import { format, group, parse, rescale } from './decimal.js';

const LIMITED = new Set(['limit', 'stop_limit', 'take_profit_limit']);
const TRIGGERED = new Set(['stop', 'stop_limit', 'take_profit', 'take_profit_limit']);
const MILLION = 1000000n;

export const isLimited = (type) => LIMITED.has(type);
export const isTriggered = (type) => TRIGGERED.has(type);
export const takesFunds = (type, side) => side === 'buy' && !LIMITED.has(type);

/** onGrid checks a number against its step and limits; it returns [units, error]. */
export function onGrid(text, scale, step, min, max, what) {
  const trimmed = text.trim();
  if (trimmed === '') return [null, `Enter a ${what}.`];
  if (!/^\d+(\.\d+)?$/.test(trimmed)) return [null, 'Digits and at most one point, such as 12.50.'];
  const units = parse(trimmed, scale);
  if (units === null || units % step !== 0n) return [null, `In steps of ${format(step, scale, 0)}.`];
  if (units <= 0n) return [null, `Enter a ${what} above zero.`];
  if (min !== null && units < min) return [null, `At least ${group(format(min, scale, 0))}.`];
  if (max !== null && units > max) return [null, `At most ${group(format(max, scale, 0))}.`];
  return [units, ''];
}

/**
 * checkOrder looks at the texts of a ticket. It returns {order, errors, price,
 * stop, size, funds}: order is what to send, without its client_order_id;
 * errors has a sentence for each field that is wrong.
 */
export function checkOrder(fields, product, now) {
  const { side, type } = fields;
  const errors = {};
  const order = { symbol: product.symbol, side, type };
  const check = (name, scale, step, min, max, what) => {
    const [units, error] = onGrid(fields[name], scale, step, min, max, what);
    if (error) errors[name] = error;
    else order[name] = format(units, scale);
    return units;
  };
  const price = (name, what) => check(name, product.priceScale, product.tick, product.minPrice, product.maxPrice, what);

  const stop = isTriggered(type) ? price('stop_price', 'stop price') : null;
  const limit = isLimited(type) || fields.price.trim() !== '' ? price('price', 'price') : null;
  let size = null;
  let funds = null;
  if (takesFunds(type, side) && fields.size_in === 'funds') {
    const [units, error] = onGrid(fields.size, product.quoteScale, 1n, product.minNotional, product.maxNotional, 'amount to spend');
    funds = units;
    if (error) errors.size = error;
    else order.funds = format(units, product.quoteScale, 0);
  } else {
    size = check('size', product.sizeScale, product.lot, product.minSize, product.maxSize, 'size');
  }
  if (limit !== null && size !== null && isLimited(type)) {
    const worth = limit * size;
    if (product.minNotional !== null && worth < product.minNotional) {
      errors.size = `Worth at least ${group(format(product.minNotional, product.quoteScale, 0))} ${product.quote}.`;
    } else if (product.maxNotional !== null && worth > product.maxNotional) {
      errors.size = `Worth at most ${group(format(product.maxNotional, product.quoteScale, 0))} ${product.quote}.`;
    }
  }

  order.time_in_force = timesFor(type).includes(fields.time_in_force) ? fields.time_in_force : timesFor(type)[0];
  const immediate = order.time_in_force === 'IOC' || order.time_in_force === 'FOK';
  if (order.time_in_force === 'GTD') {
    const at = new Date(fields.expire_time);
    if (fields.expire_time === '' || Number.isNaN(at.getTime())) errors.expire_time = 'Enter until when.';
    else if (at.getTime() <= now) errors.expire_time = 'That time has passed.';
    else order.expire_time = at.toISOString();
  }
  if (isLimited(type) && !immediate) {
    if (fields.post_only) order.post_only = fields.post_only;
    if (fields.hidden) order.hidden = true;
    if (!fields.hidden && fields.display_size.trim() !== '') {
      const shown = check('display_size', product.sizeScale, product.lot, null, size, 'size to show');
      if (shown !== null && size !== null && shown === size) delete order.display_size; // all of it is shown
    }
  }
  if (!order.post_only && fields.min_size.trim() !== '') {
    check('min_size', product.sizeScale, product.lot, null, size, 'least size');
  }
  if (fields.self_trade_prevention) order.self_trade_prevention = fields.self_trade_prevention;
  return { order, errors, price: limit, stop, size, funds };
}

/** timesFor returns the times in force that make sense for a type. */
export function timesFor(type) {
  return type === 'market' ? ['IOC', 'FOK'] : ['GTC', 'DAY', 'GTD', 'IOC', 'FOK'];
}

/** feeUp returns the fee of an amount at a rate in millionths, rounded up as the venue does; never below zero. */
export function feeUp(amount, rate) {
  return rate <= 0n ? 0n : (amount * rate + MILLION - 1n) / MILLION;
}

/** walk returns what size would cost or bring against levels, and how much of it is there. */
export function walk(levels, size) {
  let left = size;
  let cost = 0n;
  for (const level of levels) {
    if (left === 0n) break;
    const take = level.size < left ? level.size : left;
    cost += take * level.price;
    left -= take;
  }
  return { cost, filled: size - left };
}

/** affordable returns the largest size, in lots, that budget pays for with the fee: at one price, or against levels. */
export function affordable(budget, product, price, levels) {
  const before = (budget * MILLION) / (MILLION + (product.takerFee > 0n ? product.takerFee : 0n));
  let size = 0n;
  if (price !== null) {
    size = before / price;
  } else {
    let left = before;
    for (const level of levels) {
      const fits = left / level.price;
      const take = fits < level.size ? fits : level.size;
      size += take;
      left -= take * level.price;
      if (take < level.size) break;
    }
  }
  return size - (size % product.lot);
}

/** inQuote brings an amount in units of a price times a size to text, rounded up in the last shown decimal. */
export function inQuote(units, product, decimals) {
  return group(format(rescale(units, product.quoteScale, decimals, true), decimals));
}
