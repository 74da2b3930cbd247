// The price chart. Up is a hollow candle and down a full one, so that they
// differ without their colours. Candles of a minute are kept as the feed gives
// them; longer ones are sums of these, and older ones come from the API.

import { format, group } from './decimal.js';
import { Surface, part, roundStep } from './canvas.js';
import { announce, byId, dayText, minuteText, setText, touch } from './dom.js';

const MINUTE_MS = 60000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const AXIS_Y = 78;
const AXIS_X = 20;
const GAP = 8; // between the last candle and the axis
const TAG_ROOM = 15;
const VOLUME_PART = 0.16;
const SLOT_MIN = 3;
const SLOT_MAX = 28;
const SLOT_FEW = 18; // of itself no wider than this while there are few candles
const SLOT_MANY = 9; // and no narrower than this when there are many

/**
 * sum adds candles of one minute up to longer ones. The older ones given stand
 * where the minutes do not reach; in the interval in which the first minute
 * lies, whichever of the two has seen more trades counts.
 */
export function sum(minutes, length, older = []) {
  if (minutes.length === 0) return older;
  const out = [];
  for (const m of minutes) {
    const start = m.start - (m.start % length);
    const last = out.at(-1);
    if (!last || last.start !== start) {
      out.push({ ...m, start });
      continue;
    }
    if (m.high > last.high) last.high = m.high;
    if (m.low < last.low) last.low = m.low;
    last.close = m.close;
    last.volume += m.volume;
    last.trades += m.trades;
  }
  const first = out[0];
  const meeting = older.find((c) => c.start === first.start);
  if (meeting && meeting.trades > first.trades) out[0] = meeting;
  return [...older.filter((c) => c.start < first.start), ...out];
}

/** fill returns the candles of count intervals up to end; where nothing traded it is flat at the last close. */
export function fill(candles, length, end, count) {
  const out = new Array(count).fill(null);
  const begin = end - (count - 1) * length;
  let close = null;
  let at = 0;
  while (at < candles.length && candles[at].start < begin) close = candles[at++].close;
  for (let i = 0; i < count; i++) {
    const start = begin + i * length;
    if (at < candles.length && candles[at].start === start) {
      out[i] = candles[at++];
      close = out[i].close;
    } else if (close !== null) {
      out[i] = { start, open: close, high: close, low: close, close, volume: 0n, trades: 0 };
    }
  }
  return out;
}

export class CandleChart {
  constructor(state) {
    this.state = state;
    this.surface = new Surface(byId('candles'), 'candles');
    this.length = MINUTE_MS;
    this.slot = SLOT_MANY; // pixels a candle takes
    this.zoomed = false; // somebody has chosen that
    this.back = 0; // slots scrolled into the past
    this.pointer = null; // {x, y} in CSS pixels
    this.chosen = null; // slot from the right that the keyboard is on
    this.#listen();
  }

  /** interval shows candles of that many minutes. */
  interval(minutes) {
    this.length = minutes * MINUTE_MS;
    this.back = 0;
    this.chosen = null;
    touch('candles');
  }

  #listen() {
    const { canvas } = this.surface;
    let drag = null;
    canvas.addEventListener('pointerdown', (e) => {
      drag = { x: e.clientX, back: this.back };
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener('pointerup', () => (drag = null));
    canvas.addEventListener('pointercancel', () => (drag = null));
    canvas.addEventListener('pointermove', (e) => {
      this.pointer = { x: e.offsetX, y: e.offsetY };
      this.chosen = null;
      if (drag) this.#scroll(drag.back + Math.round((e.clientX - drag.x) / this.slot));
      touch('candles');
    });
    canvas.addEventListener('pointerleave', () => {
      this.pointer = null;
      touch('candles');
    });
    canvas.addEventListener('dblclick', () => {
      this.zoomed = false;
      this.#scroll(0);
    });
    canvas.addEventListener(
      'wheel',
      (e) => {
        e.preventDefault();
        this.#zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15);
      },
      { passive: false },
    );
    canvas.addEventListener('blur', () => {
      this.chosen = null;
      touch('candles');
    });
    canvas.addEventListener('keydown', (e) => {
      const act = {
        ArrowLeft: () => this.#choose(1),
        ArrowRight: () => this.#choose(-1),
        '+': () => this.#zoom(1.25),
        '-': () => this.#zoom(0.8),
        Home: () => this.#scroll(Infinity),
        End: () => this.#scroll(0),
      }[e.key];
      if (!act) return;
      e.preventDefault();
      act();
    });
  }

  #choose(step) {
    this.pointer = null;
    this.chosen = Math.max(0, Math.min((this.shown?.length ?? 1) - 1, (this.chosen ?? -1) + step));
    const candle = this.shown?.[this.shown.length - 1 - this.chosen];
    if (candle) announce(`${minuteText(candle.start)}: ${this.#words(candle)}`);
    touch('candles');
  }

  #zoom(factor) {
    this.zoomed = true;
    this.slot = Math.max(SLOT_MIN, Math.min(SLOT_MAX, this.slot * factor));
    touch('candles');
  }

  #scroll(back) {
    const oldest = this.all?.[0]?.start;
    const most = oldest === undefined ? 0 : Math.floor((this.end - oldest) / this.length);
    this.back = Math.max(0, Math.min(back, most));
    touch('candles');
  }

  draw() {
    const { product, minutes, older } = this.state;
    if (!product) return;
    this.all = sum(minutes, this.length, older.get(this.length) ?? []);
    byId('candles-empty').hidden = this.all.length > 0;
    const ctx = this.surface.begin();
    if (!ctx) return;
    if (this.all.length === 0) return setText(byId('candle-legend'), '');
    const plot = { w: this.surface.width - AXIS_Y, h: this.surface.height - AXIS_X };
    if (!this.zoomed) this.slot = Math.max(SLOT_MANY, Math.min(SLOT_FEW, Math.floor((plot.w - GAP) / this.all.length)));
    const count = Math.max(2, Math.floor((plot.w - GAP) / this.slot));
    const now = Date.now();
    this.end = Math.max(this.all.at(-1).start, now - (now % this.length));
    this.shown = fill(this.all, this.length, this.end - this.back * this.length, count);
    const seen = this.shown.filter((c) => c);
    if (seen.length === 0) return;
    let low = seen[0].low;
    let high = seen[0].high;
    let busiest = 1n;
    for (const c of seen) {
      if (c.low < low) low = c.low;
      if (c.high > high) high = c.high;
      if (c.volume > busiest) busiest = c.volume;
    }
    const margin = (high - low) / 12n + 2n;
    low -= margin;
    high += margin;
    const top = 8;
    const floor = plot.h * (1 - VOLUME_PART);
    const y = (price) => top + (1 - part(price, low, high)) * (floor - top);
    const x = (i) => plot.w - GAP - (count - i - 0.5) * this.slot;

    this.#axes(plot, low, high, y, x, count);
    this.#bodies(plot, x, y, busiest);
    this.#last(plot, y);
    this.#cross(plot, x, low, high, floor, top, count);
    const newest = seen.at(-1);
    this.surface.canvas.setAttribute(
      'aria-label',
      `Price chart of ${product.symbol}, ${this.length / MINUTE_MS} minute candles. The last one: ${this.#words(newest)}. Arrow keys go through them.`,
    );
  }

  #price(units) {
    return group(format(units, this.state.product.priceScale));
  }

  #words(c) {
    const { product } = this.state;
    const p = (v) => format(v, product.priceScale);
    return `open ${p(c.open)}, high ${p(c.high)}, low ${p(c.low)}, close ${p(c.close)}, volume ${format(c.volume, product.sizeScale, 0)}`;
  }

  #axes(plot, low, high, y, x, count) {
    const { surface } = this;
    const { ctx, colours } = surface;
    const step = roundStep(high - low, Math.max(2, Math.floor(plot.h / 52)));
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    for (let price = (low / step + 1n) * step; price < high; price += step) {
      const at = y(price);
      surface.line(0, at, plot.w, at, colours.grid);
      if (Math.abs(at - this.#tagAt(plot, y)) < TAG_ROOM) continue; // the last price's label lies there
      ctx.fillStyle = colours.muted;
      ctx.fillText(this.#price(price), surface.width - 6, at);
    }
    const every = Math.max(1, Math.ceil(84 / this.slot));
    const wide = [1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440].find((n) => n >= every) ?? 2880;
    ctx.textAlign = 'center';
    this.shown.forEach((c, i) => {
      const slot = c ? c.start / this.length : NaN;
      if (slot % wide !== 0) return;
      surface.line(x(i), 0, x(i), plot.h, colours.grid);
      ctx.fillStyle = colours.muted;
      const text = c.start % DAY_MS === 0 ? dayText(c.start) : minuteText(c.start);
      if (x(i) > 18 && x(i) < plot.w - 18) ctx.fillText(text, x(i), plot.h + AXIS_X / 2);
    });
    surface.line(0, plot.h, surface.width, plot.h, colours.line);
    surface.line(plot.w, 0, plot.w, plot.h, colours.line);
  }

  #bodies(plot, x, y, busiest) {
    const { ctx, colours } = this.surface;
    const width = Math.max(1, Math.round(this.slot * 0.66));
    this.shown.forEach((c, i) => {
      if (!c) return;
      const up = c.close >= c.open;
      const centre = Math.round(x(i)) + 0.5;
      const left = Math.round(centre - width / 2) + 0.5;
      const high = plot.h * VOLUME_PART * part(c.volume, 0n, busiest);
      ctx.fillStyle = up ? colours.buyBar : colours.sellBar;
      ctx.fillRect(left - 0.5, plot.h - high, width, high);
      const [a, b] = [Math.round(y(up ? c.close : c.open)), Math.round(y(up ? c.open : c.close))];
      ctx.strokeStyle = ctx.fillStyle = up ? colours.buy : colours.sell;
      ctx.beginPath();
      ctx.moveTo(centre, Math.round(y(c.high)));
      ctx.lineTo(centre, a);
      ctx.moveTo(centre, b);
      ctx.lineTo(centre, Math.round(y(c.low)));
      ctx.stroke();
      if (up && b - a > 1 && width > 3) {
        ctx.strokeRect(left, a + 0.5, width - 1, b - a);
      } else {
        ctx.fillRect(left - 0.5, a, width, Math.max(1, b - a));
      }
    });
  }

  // #tagAt is the height of the last price's label, inside the plot.
  #tagAt(plot, y) {
    return Math.max(9, Math.min(plot.h - 9, y(this.all.at(-1).close)));
  }

  #last(plot, y) {
    const { surface } = this;
    const { colours } = surface;
    const last = this.all.at(-1);
    const up = last.close >= last.open;
    const at = this.#tagAt(plot, y);
    surface.line(0, at, plot.w, at, up ? colours.buy : colours.sell, [2, 3]);
    surface.tag(this.#price(last.close), surface.width - 1, at, up ? colours.buy : colours.sell, colours.panel);
  }

  #cross(plot, x, low, high, floor, top, count) {
    const { surface } = this;
    const { colours } = surface;
    let at = this.shown.length - 1;
    if (this.chosen !== null) at = this.shown.length - 1 - this.chosen;
    else if (this.pointer && this.pointer.x < plot.w) at = Math.max(0, Math.min(count - 1, Math.floor(count - (plot.w - GAP - this.pointer.x) / this.slot)));
    const candle = this.shown[at] ?? this.all.at(-1);
    const { product } = this.state;
    const day = this.length >= 60 * MINUTE_MS ? `${dayText(candle.start)} ` : '';
    const ends = `C ${this.#price(candle.close)}  V ${group(format(candle.volume, product.sizeScale, 0))}`;
    const rest = `O ${this.#price(candle.open)}  H ${this.#price(candle.high)}  L ${this.#price(candle.low)}`;
    const narrow = surface.width < 560;
    setText(byId('candle-legend'), narrow ? ends : `${day}${minuteText(candle.start)}  ${rest}  ${ends}`);
    if (this.chosen === null && !this.pointer) return;
    surface.line(x(at), 0, x(at), plot.h, colours.strong, [3, 3]);
    if (this.pointer && this.pointer.x < plot.w && this.pointer.y > top && this.pointer.y < floor) {
      surface.line(0, this.pointer.y, plot.w, this.pointer.y, colours.strong, [3, 3]);
      const share = BigInt(Math.round(((floor - this.pointer.y) / (floor - top)) * 10000));
      const { tick } = product;
      const price = low + ((high - low) * share) / 10000n;
      surface.tag(this.#price(price - (price % tick)), surface.width - 1, this.pointer.y, colours.strong, colours.panel);
    }
  }
}
