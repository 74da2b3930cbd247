// The order book of one instrument, rebuilt from what the feed says.

import { parse } from './decimal.js';
import { crc32 } from './crc32.js';

/** How many levels of each side the checksum looks at. */
export const CHECKSUM_LEVELS = 10;

/** Book keeps levels {price, size: BigInt, text: what the checksum reads, orders}, best first. */
export class Book {
  constructor(priceScale, sizeScale) {
    this.priceScale = priceScale;
    this.sizeScale = sizeScale;
    this.clear();
  }

  clear() {
    this.bids = [];
    this.asks = [];
    this.ready = false; // a snapshot has come
  }

  /**
   * apply takes a message of the book channel, in sequence: a snapshot replaces
   * everything, an update the levels it names. It returns false when the
   * checksum says that the venue has another book.
   */
  apply(msg) {
    if (msg.type === 'snapshot') this.clear();
    this.ready = true;
    for (const level of msg.bids ?? []) this.#set(this.bids, level, -1);
    for (const level of msg.asks ?? []) this.#set(this.asks, level, 1);
    return !msg.checksum || msg.checksum === this.checksum();
  }

  /** checksum is the venue's: bid and ask in turn, "price:size:", as the feed writes them. */
  checksum() {
    let text = '';
    for (let i = 0; i < CHECKSUM_LEVELS; i++) {
      if (i < this.bids.length) text += this.bids[i].text;
      if (i < this.asks.length) text += this.asks[i].text;
    }
    return crc32(text);
  }

  // #set puts a level where it belongs; order is -1 for falling prices.
  #set(side, { price, size, orders }, order) {
    const px = parse(price, this.priceScale);
    const qty = parse(size, this.sizeScale);
    if (px === null || qty === null) throw new Error(`book level ${price}:${size} is off the grid of the instrument`);
    let low = 0;
    let high = side.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      const before = order < 0 ? side[mid].price > px : side[mid].price < px;
      if (before) low = mid + 1;
      else high = mid;
    }
    const found = low < side.length && side[low].price === px;
    if (qty === 0n) {
      if (found) side.splice(low, 1);
      return;
    }
    side.splice(low, found ? 1 : 0, { price: px, size: qty, orders, text: `${price}:${size}:` });
  }
}

/**
 * grouped adds levels up to steps of a price, at most count of them. Bids go
 * to the step below, asks to the one above, so that no step looks better than
 * what is in it.
 */
export function grouped(levels, step, count, up) {
  const out = [];
  for (const level of levels) {
    let price = level.price - (level.price % step);
    if (up && price !== level.price) price += step;
    const last = out[out.length - 1];
    if (last && last.price === price) {
      last.size += level.size;
      last.orders += level.orders;
      continue;
    }
    if (out.length === count) break;
    out.push({ price, size: level.size, orders: level.orders });
  }
  let total = 0n;
  for (const level of out) level.total = total += level.size;
  return out;
}
