// Single letters as shortcuts. They can be switched off, and never act while
// something is typed or a dialog is open.

import { byId } from './dom.js';

const STORE = 'exchange.keys';

/** shortcuts binds keys, as KeyboardEvent.key gives them in lower case, to what they do. */
export function shortcuts(actions) {
  const box = byId('keys-on');
  try {
    box.checked = localStorage.getItem(STORE) !== 'off';
  } catch {
    // Without storage they are on.
  }
  box.addEventListener('change', () => {
    try {
      localStorage.setItem(STORE, box.checked ? 'on' : 'off');
    } catch {
      // Then it lasts until the page is loaded anew.
    }
  });
  document.addEventListener('keydown', (e) => {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey) return;
    if (document.querySelector('dialog[open]')) return; // a dialog has its own Escape
    const typing = e.target.matches('input:not([type="radio"]):not([type="checkbox"]), select, textarea');
    if (e.key === 'Escape') return e.target.blur?.();
    if (typing || !box.checked) return;
    const act = actions[e.key.toLowerCase()];
    if (!act) return;
    e.preventDefault();
    act();
  });
}
