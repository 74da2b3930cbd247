// Rows of a table that stay the same elements as long as they show the same
// thing, so that the keyboard's focus survives an update.

/**
 * syncRows makes the rows of body those of items, in order. create(item)
 * returns a row, update(row, item) fills it.
 */
export function syncRows(body, items, keyOf, create, update) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const focused = body.contains(document.activeElement) ? document.activeElement.closest('tr') : null;
  const place = focused ? [...body.children].indexOf(focused) : -1;
  let next = body.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = old.get(key);
    old.delete(key);
    if (!row) {
      row = create(item);
      row.dataset.key = key;
    }
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
    update(row, item);
  }
  for (const row of old.values()) row.remove();
  if (focused && !focused.isConnected) {
    const row = body.children[Math.min(place, body.children.length - 1)];
    (row?.querySelector('button') ?? body.closest('[tabindex]'))?.focus();
  }
}
