// What the venue's codes and names mean to people.

import { isZero } from './decimal.js';

/** What to say of a reason, beyond its name. */
const REASONS = {
  'insufficient funds': 'What is available does not cover the order and its fee.',
  'post-only order would take': 'It would have traded at once, which post-only forbids.',
  'post-only order would take when triggered': 'It would have traded at once when triggered, which post-only forbids.',
  'worst price or funds required': 'Nothing bounds what it may cost: give it a worst price or an amount to spend.',
  'price outside collar': 'It is too far from the reference price.',
  'no reference price': 'There is no reference price to measure it against.',
  'too many open orders': 'The account has as many open orders as it may.',
  'position limit': 'It could bring the account to more than it may hold.',
  'message rate': 'Too many orders in a short time. Wait a moment.',
  'kill switch engaged': 'Trading was stopped for this account or instrument.',
  'instrument not trading': 'The instrument takes no such orders now.',
  'account not active': 'The account may not trade now.',
  'unknown order': 'There is no such open order. It may have been filled or canceled.',
  'no liquidity': 'There was nothing to trade with.',
  'fill or kill': 'It could not be filled in full at once.',
  'immediate remainder': 'What could not trade at once was canceled.',
  'minimum quantity not met': 'Less than the least size asked for could trade at once.',
  'self-trade prevention': 'It met an order of the same account.',
  'funds exhausted': 'What is left to spend buys no further lot.',
  'stale command': 'It came too late to be taken.',
  'nothing to amend': 'It is as it was.',
  'notional below minimum': 'The order is worth too little.',
  'notional above maximum': 'The order is worth too much.',
  'too many iceberg parts': 'The part that is shown is too small for the size.',
};

/** reasonName returns a reason the way it is read: the venue's codes are words joined by "_". */
export function reasonName(reason) {
  return String(reason ?? '').replaceAll('_', ' ').trim();
}

/** explain returns what there is to say of a reason, or ''. */
export function explain(reason) {
  return REASONS[reasonName(reason)] ?? '';
}

/** sentence makes a sentence of the venue's words. */
export function sentence(text) {
  const t = String(text ?? '').trim();
  if (!t) return '';
  const first = t[0].toUpperCase() + t.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

export const TYPES = {
  limit: 'Limit',
  market: 'Market',
  'market_to_limit': 'Market to limit',
  stop: 'Stop',
  'stop_limit': 'Stop limit',
  'take_profit': 'Take profit',
  'take_profit_limit': 'Take profit limit',
};

const TIMES = { DAY: 'day' };

export const SIDES = { buy: 'Buy', sell: 'Sell' };

const STATES = { open: 'Open', pending: 'Waiting', filled: 'Filled', canceled: 'Canceled', expired: 'Expired', rejected: 'Refused' };

/** stateText says how far an order is. */
export function stateText(order) {
  if (order.status === 'open' && !isZero(order.filled)) return 'Partly filled';
  if (order.status === 'canceled' && !isZero(order.filled)) return 'Partly filled, the rest canceled';
  return STATES[order.status] ?? order.status;
}

/** typeText is the type with what is special about the order. */
export function typeText(order) {
  const parts = [TYPES[order.type] ?? order.type];
  if (order.time_in_force && order.time_in_force !== 'GTC' && order.type !== 'market') parts.push(TIMES[order.time_in_force] ?? order.time_in_force);
  if (order.post_only && order.post_only !== 'none') parts.push('post only');
  if (!isZero(order.display_size)) parts.push('iceberg');
  if (order.hidden) parts.push('hidden');
  return parts.join(', ');
}

/** failure says in words why a request failed. */
export function failure(err) {
  if (err.doubtful) return 'The venue has not answered. Nobody knows yet whether it took effect.';
  if (err.status === 429) return 'Too many requests. Wait a moment.';
  return `${sentence(err.message)} ${explain(err.code)}`.trim();
}
