// The ticker, and the state of the connection in words and figures.

import { change, format, group, pad } from './decimal.js';
import { announce, byId, make, setText } from './dom.js';
import { MIN_DECIMALS } from './state.js';

const WORDS = { connecting: 'Connecting', live: 'Live', waiting: 'Offline' };

export class Status {
  constructor(state, feed) {
    this.state = state;
    this.feed = feed;
    this.since = '';
    byId('conn').addEventListener('click', () => {
      byId('d-conn').showModal();
      this.draw();
    });
  }

  /** connection shows that the feed's state has changed. */
  connection(state, wait) {
    this.state.live = state === 'live';
    document.body.dataset.live = String(this.state.live);
    byId('conn').dataset.state = state;
    setText(byId('conn-word'), WORDS[state]);
    const detail = state === 'waiting' ? `offline, next try in ${Math.max(1, Math.round(wait / 1000))} s` : state;
    setText(byId('f-state'), detail);
    if (state !== 'connecting' && state !== this.since) {
      if (this.since) announce(state === 'live' ? 'Connected again' : 'The connection was lost. Prices may be old.');
      this.since = state;
    }
  }

  draw() {
    const { feed, state } = this;
    const book = feed.subs.get(`book|${state.product?.symbol}`);
    const stream = book?.streams.get(state.product?.symbol);
    const { gaps, reconnects, latency, messages } = feed.stats;
    setText(byId('f-seq'), stream ? String(stream.last) : '–');
    const checksum = { none: '–', ok: 'matches', differs: 'differs' }[state.checksum];
    setText(byId('f-checksum'), checksum);
    byId('f-checksum').className = state.checksum === 'differs' ? 'down' : '';
    setText(byId('f-gaps'), String(gaps));
    setText(byId('f-reconnects'), String(reconnects));
    const trip = latency === null ? '–' : `${latency < 10 ? latency.toFixed(1) : Math.round(latency)} ms`;
    setText(byId('f-latency'), trip);
    if (byId('d-conn').open) this.#details(trip, checksum, messages);
  }

  #details(trip, checksum, messages) {
    const { feed } = this;
    const facts = [
      ['State', WORDS[feed.state]],
      ['Address', feed.url],
      ['Signed in', feed.authed ? this.state.account?.name ?? 'yes' : 'no'],
      ['Round trip', trip],
      ['Book checksum', checksum],
      ['Messages', String(messages)],
      ['Gaps resynced', String(feed.stats.gaps)],
      ['Reconnects', String(feed.stats.reconnects)],
    ];
    const list = byId('conn-facts');
    while (list.children.length < facts.length) {
      const row = make('div');
      row.append(make('dt'), make('dd', 'num'));
      list.append(row);
    }
    facts.forEach(([name, value], i) => {
      setText(list.children[i].children[0], name);
      setText(list.children[i].children[1], value);
    });
    const rows = [];
    for (const sub of feed.subs.values()) {
      for (const [symbol, stream] of sub.streams) {
        rows.push([`${sub.channel} ${symbol}`, stream.ready ? String(stream.last) : 'resyncing', String(sub.count), String(sub.gaps)]);
      }
    }
    const body = byId('conn-channels');
    while (body.children.length > rows.length) body.lastElementChild.remove();
    while (body.children.length < rows.length) {
      const row = make('tr');
      row.append(make('td'), make('td', 'r num'), make('td', 'r num'), make('td', 'r num'));
      body.append(row);
    }
    rows.forEach((cells, i) => cells.forEach((text, j) => setText(body.children[i].children[j], text)));
  }

  drawTicker() {
    const { product, ticker, trades, direction } = this.state;
    if (!product) return;
    const text = trades.at(-1)?.price ?? ticker?.price ?? '';
    const last = text ? this.state.price(text) : 0n;
    const shown = last > 0n ? group(format(last, product.priceScale)) : '–';
    const way = direction > 0 ? 'up' : direction < 0 ? 'down' : '';
    for (const [value, arrow] of [['t-last', 't-arrow'], ['m-last', 'm-arrow']]) {
      setText(byId(value), shown);
      byId(value).className = `num ${way}`;
      byId(arrow).className = `arrow ${way}`;
    }
    setText(document.querySelector('title'), last > 0n ? `${shown} ${product.symbol} · Exchange` : `${product.symbol} · Exchange`);
    const open = ticker?.open_24h ? this.state.price(ticker.open_24h) : 0n;
    const moved = last > 0n ? change(open, last) : '';
    setText(byId('t-change'), moved || '–');
    byId('t-change').className = `num ${moved.startsWith('+') ? 'up' : moved.startsWith('-') ? 'down' : ''}`;
    const price = (t) => (t ? group(format(this.state.price(t), product.priceScale)) : '–');
    setText(byId('t-high'), price(ticker?.high_24h));
    setText(byId('t-low'), price(ticker?.low_24h));
    setText(byId('t-volume'), ticker?.volume_24h ? `${pad(ticker.volume_24h, MIN_DECIMALS)} ${product.base}` : '–');
  }
}
