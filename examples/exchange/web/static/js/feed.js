// The WebSocket feed: one connection that comes back by itself, a sequence for
// every channel and instrument, and a fresh snapshot wherever one breaks.

const BACKOFF_MIN_MS = 250;
const BACKOFF_MAX_MS = 8000;
const SILENCE_MS = 12000; // the venue's heartbeat comes every 5 seconds
const PING_MS = 5000;
const RESYNC_MS = 1000;
const MAX_JOINING = 16; // messages in parts at a time

const PRIVATE = new Set(['orders', 'balances']);
const AUTH_ERRORS = new Set(['unauthorized', 'token_expired']);

// join puts the parts of a long message together: it returns a message, null
// while parts are missing. A part that does not follow is a loss, which shows
// as a gap.
function join(joining, msg) {
  if (msg.type !== 'part') return msg;
  const texts = msg.part === 1 ? [] : joining.get(msg.id);
  joining.delete(msg.id);
  if (!texts || texts.length !== msg.part - 1) return null;
  texts.push(msg.data);
  if (msg.part === msg.parts) return JSON.parse(texts.join(''));
  if (joining.size === MAX_JOINING) joining.delete(joining.keys().next().value);
  joining.set(msg.id, texts);
  return null;
}

/**
 * Feed keeps subscriptions alive. It calls
 *   onState(state, detail)  "connecting", "live", "waiting" (detail: ms until the next try)
 *   onMessage(msg)          snapshots and updates, in order and none twice; when it returns false
 *                           for an update, that did not fit and a snapshot is asked for
 *   onAuth(ok, error)       the token was taken, or refused, or has ended
 *   onError(error)          the venue's complaint
 *   onChange()              a figure below has changed
 */
export class Feed {
  constructor(url, callbacks) {
    this.url = url;
    this.on = callbacks;
    this.subs = new Map(); // "channel|symbol" -> subscription
    this.state = 'connecting';
    this.stats = { gaps: 0, reconnects: 0, messages: 0, latency: null };
    this.token = '';
    this.authed = false;
    this.tries = 0;
    this.socket = null;
    this.timer = 0;
    addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.#hurry());
  }

  /** start connects, and from then on stays connected. */
  start() {
    this.#connect();
  }

  /** drop closes the connection as a failing network would. */
  drop() {
    this.socket?.close();
  }

  /** subscribe asks for a channel; an empty symbol is every instrument, each with its own sequence. */
  subscribe(channel, symbol = '') {
    const key = `${channel}|${symbol}`;
    if (this.subs.has(key)) return;
    const sub = { channel, symbol, streams: new Map(), count: 0, gaps: 0 };
    this.subs.set(key, sub);
    this.#ask(sub, false);
  }

  unsubscribe(channel, symbol = '') {
    const sub = this.subs.get(`${channel}|${symbol}`);
    if (!sub) return;
    this.subs.delete(`${channel}|${symbol}`);
    if (this.#may(sub)) this.#send({ op: 'unsubscribe', channel, ...(symbol && { symbol }) });
  }

  /** signIn sends a token, now and after every reconnect; '' signs out. */
  signIn(token) {
    const before = this.token;
    this.token = token;
    this.authed = false;
    for (const channel of PRIVATE) this.subs.delete(`${channel}|`);
    if (before) {
      // A connection belongs to one account for good: go on with a new one.
      clearTimeout(this.timer);
      const old = this.socket;
      this.#connect();
      old.close();
    } else if (token && this.state === 'live') {
      this.#send({ op: 'auth', token });
    }
  }

  #may(sub) {
    return this.state === 'live' && (!PRIVATE.has(sub.channel) || this.authed);
  }

  // #ask subscribes, from the last sequence on when resume is set and there is one.
  #ask(sub, resume) {
    if (!this.#may(sub)) return;
    const stream = sub.symbol ? sub.streams.get(sub.symbol) : undefined;
    const request = { op: 'subscribe', channel: sub.channel };
    if (sub.symbol) request.symbol = sub.symbol;
    if (resume && stream?.ready) {
      request.seq = stream.last;
    } else {
      for (const s of sub.streams.values()) s.ready = false;
    }
    this.#send(request);
  }

  // #resync throws a broken stream away and asks for its snapshot, soon
  // enough to be useful and seldom enough not to be a nuisance.
  #resync(sub, stream) {
    stream.ready = false;
    this.#lost(sub);
    const now = performance.now();
    const wait = Math.max(0, stream.asked + RESYNC_MS - now);
    stream.asked = now + wait;
    if (wait === 0) return this.#ask(sub, false);
    setTimeout(() => stream.ready || this.#ask(sub, false), wait);
  }

  #lost(sub) {
    sub.gaps++;
    this.stats.gaps++;
    this.on.onChange();
  }

  #send(request) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(request));
  }

  #setState(state, detail) {
    this.state = state;
    this.on.onState(state, detail);
  }

  #hurry() {
    if (this.state === 'waiting') {
      clearTimeout(this.timer);
      this.#connect();
    }
  }

  #connect() {
    this.#setState('connecting');
    this.authed = false;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    const joining = new Map();
    let silence = setTimeout(() => socket.close(), SILENCE_MS);
    let pinger = 0;
    let pinged = 0;
    const ping = () => {
      pinged = performance.now();
      this.#send({ op: 'ping' });
    };
    socket.addEventListener('open', () => {
      this.#setState('live');
      if (this.token) this.#send({ op: 'auth', token: this.token });
      for (const sub of this.subs.values()) this.#ask(sub, true);
      ping();
      pinger = setInterval(ping, PING_MS);
    });
    socket.addEventListener('message', (e) => {
      if (this.socket !== socket) return;
      this.tries = 0; // only now: a venue that opens and closes at once is not bothered more
      clearTimeout(silence);
      silence = setTimeout(() => socket.close(), SILENCE_MS);
      const msg = join(joining, JSON.parse(e.data));
      if (!msg) return;
      if (msg.type === 'pong') {
        this.stats.latency = performance.now() - pinged;
        this.on.onChange();
      } else {
        this.#take(msg);
      }
    });
    // An error is always followed by a close, which is where it is dealt with.
    socket.addEventListener('close', () => {
      clearTimeout(silence);
      clearInterval(pinger);
      if (this.socket !== socket) return;
      this.authed = false;
      this.stats.latency = null;
      const wait = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.tries) * (0.5 + Math.random() / 2);
      this.tries++;
      this.stats.reconnects++;
      this.#setState('waiting', wait);
      this.timer = setTimeout(() => this.#connect(), wait);
    });
  }

  #take(msg) {
    this.stats.messages++;
    switch (msg.type) {
      case 'snapshot':
      case 'update':
        return this.#sequence(msg);
      case 'authenticated':
        this.authed = true;
        for (const sub of this.subs.values()) if (PRIVATE.has(sub.channel)) this.#ask(sub, true);
        this.on.onAuth(true);
        return;
      case 'heartbeat':
        for (const said of msg.subscriptions ?? []) {
          const [sub, stream] = this.#find(said);
          if (sub && stream?.ready && stream.last < said.seq) this.#resync(sub, stream);
        }
        this.on.onChange();
        return;
      case 'gap': {
        // The venue threw something away for us and sends the snapshot itself.
        const [sub, stream] = this.#find(msg);
        if (!sub) return;
        if (stream) stream.ready = false;
        this.#lost(sub);
        return;
      }
      case 'error':
        return this.#complaint(msg);
    }
  }

  #complaint(error) {
    const [sub] = error.channel ? this.#find(error) : [];
    if (AUTH_ERRORS.has(error.code) && !sub) {
      this.authed = false;
      this.on.onAuth(false, error);
    } else if (error.code === 'unavailable' && sub) {
      setTimeout(() => this.subs.get(`${sub.channel}|${sub.symbol}`) === sub && this.#ask(sub, false), RESYNC_MS);
    } else {
      this.on.onError(error);
    }
  }

  #find({ channel, symbol = '' }) {
    const sub = this.subs.get(`${channel}|${symbol}`) ?? this.subs.get(`${channel}|`);
    return [sub, sub?.streams.get(symbol)];
  }

  #sequence(msg) {
    const [sub, known] = this.#find(msg);
    if (!sub) return; // unsubscribed in the meantime
    let stream = known;
    if (!stream) sub.streams.set(msg.symbol ?? '', (stream = { last: 0, ready: false, asked: -RESYNC_MS }));
    if (msg.type === 'snapshot') {
      stream.ready = true;
    } else {
      if (!stream.ready || msg.seq <= stream.last) return;
      if (msg.prev_seq > stream.last) return this.#resync(sub, stream);
    }
    stream.last = msg.seq;
    sub.count++;
    if (this.on.onMessage(msg) === false && msg.type === 'update') this.#resync(sub, stream);
    this.on.onChange();
  }
}
