// Small helpers around the document, and the one place where drawing is timed.

/** byId returns an element of the page, which must be there. */
export function byId(id) {
  const el = document.getElementById(id);
  if (!el) throw new Error(`the page has no #${id}`);
  return el;
}

/** make returns a new element with a class and a text. */
export function make(tag, className = '', text = '') {
  const el = document.createElement(tag);
  if (className) el.className = className;
  if (text) el.textContent = text;
  return el;
}

/** setText writes text only when it is another, so that nothing is laid out for nothing. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

const painters = new Map();
const dirty = new Set();
let frame = 0;
export const painting = { frames: 0 }; // how often something was drawn

/** painter names a function that draws a part of the page. */
export function painter(name, draw) {
  painters.set(name, draw);
}

/**
 * touch says that parts of the page are out of date. However often and from
 * wherever it is called, each is drawn once in the next frame.
 */
export function touch(...names) {
  for (const name of names) dirty.add(name);
  if (frame === 0) frame = requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  painting.frames++;
  const due = [...dirty];
  dirty.clear();
  for (const name of due) painters.get(name)?.();
}

/** onResize calls back with the size of an element in CSS pixels, now and whenever it changes. */
export function onResize(el, changed) {
  new ResizeObserver(() => changed(el.clientWidth, el.clientHeight)).observe(el);
}

/** announce tells readers of the screen what others see. */
export function announce(text) {
  const el = byId('announce');
  el.textContent = el.textContent === text ? text + '\u00a0' : text;
}

const NOTICE_MS = 7000;
const MAX_NOTICES = 4;

/** notice shows a message: kind is "info", "good" or "error". Errors stay until they are closed or pushed out. */
export function notice(kind, what, why = '') {
  const box = byId('notices');
  const el = make('div', 'notice');
  el.dataset.kind = kind;
  const mark = make('span', 'mark');
  mark.setAttribute('aria-hidden', 'true');
  const text = make('p');
  text.append(make('span', 'what', what));
  if (why) text.append(' ', make('span', 'why', why));
  const close = make('button', '', '✕');
  close.type = 'button';
  close.setAttribute('aria-label', 'Dismiss');
  close.addEventListener('click', () => el.remove());
  el.append(mark, text, close);
  box.append(el);
  while (box.children.length > MAX_NOTICES) box.firstElementChild.remove();
  if (kind !== 'error') setTimeout(() => el.remove(), NOTICE_MS);
}

/** choices makes buttons of role radio or tab behave as one: arrows move, one is in the tab order. */
export function choices(box, attribute, chosen) {
  const all = [...box.querySelectorAll(`[${attribute}]`)];
  const choose = (button, focus) => {
    for (const b of all) {
      b.setAttribute(attribute, String(b === button));
      b.tabIndex = b === button ? 0 : -1;
    }
    if (focus) button.focus();
    chosen(button);
  };
  box.addEventListener('click', (e) => {
    const button = e.target.closest(`[${attribute}]`);
    if (button) choose(button, false);
  });
  box.addEventListener('keydown', (e) => {
    const at = all.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (at < 0 || !step) return;
    e.preventDefault();
    choose(all[(at + step + all.length) % all.length], true);
  });
  return (button) => choose(button, false);
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: '2-digit', month: 'short' });

/** millis reads an RFC 3339 time with any number of decimals. */
export function millis(text) {
  return Date.parse(text.replace(/(\.\d{3})\d+/, '$1'));
}

/** timeText is the local time of day, with the date in front when it is not today's. */
export function timeText(text) {
  const at = new Date(millis(text));
  if (Number.isNaN(at.getTime())) return '–';
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${minute.format(at)}`;
}

export const minuteText = (ms) => minute.format(ms);
export const dayText = (ms) => day.format(ms);
