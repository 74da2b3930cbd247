// The trade tape: the latest trades of the instrument, newest first.

import { format, group, pad } from './decimal.js';
import { byId, make, onResize, setText, timeText, touch } from './dom.js';

const MAX_ROWS = 60;

export class Tape {
  constructor(state) {
    this.state = state;
    this.rows = [];
    onResize(byId('tape').closest('.panel'), (w, h) => this.#fit(h));
  }

  #fit(height) {
    if (height === 0) return; // it is not in view
    const body = byId('tape');
    const row = this.rows[0]?.el.offsetHeight || 22;
    const count = Math.max(4, Math.min(MAX_ROWS, Math.floor((height - 64) / row)));
    while (this.rows.length > count) this.rows.pop().el.remove();
    while (this.rows.length < count) {
      const el = make('tr');
      const price = make('td');
      const arrow = make('span', 'arrow');
      arrow.setAttribute('aria-hidden', 'true');
      const side = make('span', 'visually-hidden');
      const text = make('span', 'num');
      price.append(arrow, side, text);
      const size = make('td', 'num');
      const time = make('td', 'num');
      el.append(price, size, time);
      body.append(el);
      this.rows.push({ el, price, arrow, side, text, size, time });
    }
    touch('tape');
  }

  draw() {
    const { trades, product } = this.state;
    if (!product) return;
    byId('tape-empty').hidden = trades.length > 0;
    this.rows.forEach((row, i) => {
      const trade = trades[trades.length - 1 - i];
      row.el.hidden = !trade;
      if (!trade) return;
      const up = trade.side === 'buy';
      row.price.className = up ? 'up' : 'down';
      row.arrow.className = `arrow ${up ? 'up' : 'down'}`;
      setText(row.side, up ? 'bought at ' : 'sold at ');
      setText(row.text, group(format(this.state.price(trade.price), product.priceScale)));
      setText(row.size, pad(trade.size, product.sizeScale));
      setText(row.time, timeText(trade.time));
    });
  }
}
