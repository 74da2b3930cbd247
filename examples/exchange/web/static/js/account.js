// Who is trading: signing in to a demo account, and what it has.

import { ApiError, call, setToken } from './api.js';
import { pad } from './decimal.js';
import { byId, make, notice, setText, touch } from './dom.js';
import { addFills, forgetAccount, keepOrder, MAX_FILLS, MAX_HISTORY, MIN_DECIMALS } from './state.js';
import { syncRows } from './table.js';
import { failure } from './words.js';

const STORE = 'exchange.account';

/** subject returns whose token (a JWT) it says it is, or ''. */
function subject(token) {
  try {
    const claims = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    return String(claims.sub ?? '');
  } catch {
    return '';
  }
}

export class Account {
  constructor(state, feed) {
    this.state = state;
    this.feed = feed;
    byId('account').addEventListener('click', () => this.open());
    byId('login').addEventListener('submit', (e) => {
      e.preventDefault();
      this.#paste();
    });
    byId('logout').addEventListener('click', () => {
      byId('d-login').close();
      this.signOut();
    });
  }

  /** resume goes on as whoever was signed in before the page was loaded anew. */
  resume() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(STORE));
      if (kept?.token) this.#in(kept);
    } catch {
      // Nothing usable was kept: nobody is signed in.
    }
  }

  async open() {
    const box = byId('login-accounts');
    const error = byId('login-error');
    setText(error, '');
    byId('logout').hidden = !this.state.account;
    byId('d-login').showModal();
    try {
      const { accounts } = await call('GET', '/demo/accounts');
      this.#offer(true);
      box.replaceChildren(
        ...accounts.map(({ account }) => {
          const button = make('button', '', `Account ${account}`);
          button.type = 'button';
          button.dataset.account = account;
          button.addEventListener('click', () => this.#login(account));
          return button;
        }),
      );
      (box.querySelector(`[data-account="${this.state.account?.id}"]`) ?? box.firstElementChild)?.focus();
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      if (err.status !== 404) return setText(error, failure(err));
      this.#offer(false);
      byId('login-token').focus();
    }
  }

  // #offer shows the demo accounts, or where to paste a token.
  #offer(demo) {
    byId('login-accounts').hidden = !demo;
    byId('login-token-field').hidden = byId('login-send').hidden = demo;
    const words = demo ? 'Demo accounts with play money.' : 'This venue has no demo accounts.';
    setText(byId('login-hint'), `${words} The sign-in lasts until this tab is closed.`);
  }

  // #paste signs in with a token as it is; the feed says when it is no good.
  #paste() {
    const token = byId('login-token').value.trim();
    const id = subject(token);
    if (!id) return setText(byId('login-error'), 'That is no token of an account.');
    byId('login-token').value = '';
    byId('d-login').close();
    if (this.state.account) this.signOut();
    this.#in({ id, name: `Account ${id}`, token });
  }

  async #login(id) {
    try {
      const { token } = await call('POST', '/demo/login', { body: { account: id } });
      byId('d-login').close();
      if (this.state.account) this.signOut();
      this.#in({ id, name: `Account ${id}`, token });
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      setText(byId('login-error'), failure(err));
    }
  }

  #in(account) {
    this.state.account = account;
    setToken(account.token);
    try {
      sessionStorage.setItem(STORE, JSON.stringify(account));
    } catch {
      // Without storage the sign-in lasts until the page is loaded anew.
    }
    this.feed.signIn(account.token);
    touch('account', 'orders', 'balances', 'ticket');
  }

  signOut(why = '') {
    forgetAccount();
    setToken('');
    try {
      sessionStorage.removeItem(STORE);
    } catch {
      // There is nothing to remove.
    }
    this.feed.signIn('');
    if (why) notice('error', 'Signed out.', why);
  }

  /**
   * catchUp asks for what the feed does not repeat: orders that are done, and
   * fills. It is due whenever the feed has authenticated.
   */
  async catchUp() {
    const { account } = this.state;
    try {
      const [orders, fills] = await Promise.all([
        call('GET', `/orders?status=all&limit=${MAX_HISTORY}`),
        call('GET', `/fills?limit=${MAX_FILLS}`),
      ]);
      if (this.state.account !== account) return;
      for (const order of orders.orders) if (order.status !== 'open' && order.status !== 'pending') keepOrder(order);
      addFills(fills.fills);
      touch('orders');
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      notice('error', 'Older orders and fills could not be read.', failure(err));
    }
  }

  drawAccount() {
    const { account } = this.state;
    setText(byId('account-name'), account ? account.name : 'Sign in');
    byId('account').classList.toggle('in', Boolean(account));
  }

  drawBalances() {
    const { balances, account } = this.state;
    const rows = [...balances.values()].sort((a, b) => (a.asset < b.asset ? -1 : 1));
    byId('balances-empty').hidden = rows.length > 0;
    byId('balances-empty').textContent = account ? 'Nothing here yet.' : 'Sign in to see your balances.';
    const create = () => {
      const row = make('tr');
      row.append(make('td'), make('td', 'r num'), make('td', 'r num muted'));
      return row;
    };
    syncRows(byId('balances'), rows, (b) => b.asset, create, (row, b) => {
      const [asset, available, held] = row.children;
      setText(asset, b.asset);
      setText(available, pad(b.available, MIN_DECIMALS));
      setText(held, pad(b.held, MIN_DECIMALS));
    });
  }
}
