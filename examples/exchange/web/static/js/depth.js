// The depth chart: how much can be bought or sold up to which price.

import { format, group } from './decimal.js';
import { Surface, part } from './canvas.js';
import { byId, setText, touch } from './dom.js';

const AXIS = 18;
const MAX_LEVELS = 400; // of each side

export class DepthChart {
  constructor(state) {
    this.state = state;
    this.surface = new Surface(byId('depth'), 'depth');
    this.pointer = null;
    const { canvas } = this.surface;
    canvas.addEventListener('pointermove', (e) => {
      this.pointer = e.offsetX;
      touch('depth');
    });
    canvas.addEventListener('pointerleave', () => {
      this.pointer = null;
      touch('depth');
    });
  }

  // #window returns the range of prices shown, with the middle in the middle:
  // as far as the nearer end of the book, but at least half as far as the
  // other.
  #window() {
    const { bids, asks } = this.state.book;
    const bid = bids[0]?.price ?? asks[0].price;
    const ask = asks[0]?.price ?? bids[0].price;
    const mid = (bid + ask) / 2n;
    const reach = (levels) => {
      if (levels.length === 0) return 0n;
      const end = levels[Math.min(levels.length, MAX_LEVELS) - 1].price;
      return end > mid ? end - mid : mid - end;
    };
    const [a, b] = [reach(bids), reach(asks)];
    const [near, far] = a < b ? [a, b] : [b, a];
    let span = near * 2n > far ? near : far / 2n;
    span += span / 10n + 5n;
    return { low: mid > span ? mid - span : 0n, high: mid + span };
  }

  draw() {
    const { book, product } = this.state;
    const empty = book.bids.length + book.asks.length === 0;
    byId('depth-empty').hidden = !empty || !book.ready;
    const ctx = this.surface.begin();
    if (!ctx || !product || empty) return;
    const { width, colours } = this.surface;
    const height = this.surface.height - AXIS;
    const { low, high } = this.#window();
    const x = (price) => part(price, low, high) * width;
    const curve = (levels) => {
      let total = 0n;
      const points = [];
      for (const level of levels.slice(0, MAX_LEVELS)) {
        if (level.price < low || level.price > high) break;
        total += level.size;
        points.push({ price: level.price, total });
      }
      return points;
    };
    const bids = curve(book.bids);
    const asks = curve(book.asks);
    const most = [bids, asks].map((c) => c.at(-1)?.total ?? 0n).reduce((a, b) => (a > b ? a : b)) || 1n;
    const y = (total) => height - part(total, 0n, most) * (height - 22);

    for (let i = 1; i < 4; i++) this.surface.line(0, (height * i) / 4, width, (height * i) / 4, colours.grid);
    this.#area(bids, x, y, 0, height, colours.buyBar, colours.buy);
    this.#area(asks, x, y, width, height, colours.sellBar, colours.sell);
    this.surface.line(0, height, width, height, colours.line);

    ctx.fillStyle = colours.muted;
    ctx.textBaseline = 'middle';
    const label = (price, at, align) => {
      ctx.textAlign = align;
      ctx.fillText(group(format(price, product.priceScale)), at, height + AXIS / 2 + 1);
    };
    label(low, 8, 'left');
    label((low + high) / 2n, width / 2, 'center');
    label(high, width - 8, 'right');
    ctx.textAlign = 'left';
    ctx.fillText(`${group(format(most, product.sizeScale, 0))} ${product.base}`, 8, 9);
    this.#hover(bids, asks, x, y, height);
    this.surface.canvas.setAttribute(
      'aria-label',
      `Depth chart: ${this.#sum(bids, 'to buy')}, ${this.#sum(asks, 'for sale')}`,
    );
  }

  #sum(curve, words) {
    const { product } = this.state;
    const end = curve.at(-1);
    if (!end) return `nothing ${words}`;
    return `${format(end.total, product.sizeScale, 0)} ${product.base} ${words} up to ${format(end.price, product.priceScale)}`;
  }

  #area(curve, x, y, edge, base, fill, stroke) {
    if (curve.length === 0) return;
    const { ctx } = this.surface;
    ctx.beginPath();
    ctx.moveTo(x(curve[0].price), base);
    for (const [i, p] of curve.entries()) {
      if (i > 0) ctx.lineTo(x(p.price), y(curve[i - 1].total));
      ctx.lineTo(x(p.price), y(p.total));
    }
    ctx.lineTo(edge, y(curve.at(-1).total));
    ctx.lineTo(edge, base);
    ctx.fillStyle = fill;
    ctx.fill();
    ctx.beginPath();
    ctx.moveTo(x(curve[0].price), base);
    for (const [i, p] of curve.entries()) {
      if (i > 0) ctx.lineTo(x(p.price), y(curve[i - 1].total));
      ctx.lineTo(x(p.price), y(p.total));
    }
    ctx.lineTo(edge, y(curve.at(-1).total));
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 1.5;
    ctx.stroke();
    ctx.lineWidth = 1;
  }

  #hover(bids, asks, x, y, height) {
    const legend = byId('depth-legend');
    if (this.pointer === null) return setText(legend, '');
    const { product } = this.state;
    const { colours, ctx } = this.surface;
    const bid = bids.findLast((p) => x(p.price) >= this.pointer);
    const ask = asks.findLast((p) => x(p.price) <= this.pointer);
    const point = bid ?? ask;
    if (!point) return setText(legend, '');
    this.surface.line(this.pointer, 0, this.pointer, height, colours.strong, [3, 3]);
    ctx.fillStyle = bid ? colours.buy : colours.sell;
    ctx.beginPath();
    ctx.arc(this.pointer, y(point.total), 3.5, 0, 7);
    ctx.fill();
    const words = bid ? 'to buy down to' : 'for sale up to';
    setText(
      legend,
      `${group(format(point.total, product.sizeScale, 0))} ${product.base} ${words} ${group(format(point.price, product.priceScale))}`,
    );
  }
}
