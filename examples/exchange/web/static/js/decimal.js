// Decimal text as whole numbers: a BigInt counts units of 10^-scale. Nothing
// that is shown or sent ever passes through a float.

const PLAIN = /^(-?)(\d+)(?:\.(\d+))?$/;

/** scaleOf returns the number of decimals that text needs: 2 for "0.010". */
export function scaleOf(text) {
  const m = PLAIN.exec(text);
  return m && m[3] ? m[3].replace(/0+$/, '').length : 0;
}

/** parse returns text in units of 10^-scale, or null when it is no plain decimal number or has more decimals. */
export function parse(text, scale) {
  const m = PLAIN.exec(String(text).trim());
  if (!m) return null;
  const frac = (m[3] ?? '').replace(/0+$/, '');
  if (frac.length > scale) return null;
  const units = BigInt(m[2] + frac.padEnd(scale, '0'));
  return m[1] ? -units : units;
}

/** isZero says whether a decimal text is absent or nothing but zeros. */
export function isZero(text) {
  return !text || /^-?0*(\.0*)?$/.test(text);
}

/** format returns units of 10^-scale as text with at least min decimals (scale without it). */
export function format(units, scale, min = scale) {
  const negative = units < 0n;
  const digits = (negative ? -units : units).toString().padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  let frac = digits.slice(digits.length - scale);
  while (frac.length > min && frac.endsWith('0')) frac = frac.slice(0, -1);
  frac = frac.padEnd(min, '0');
  return (negative ? '-' : '') + whole + (frac ? '.' + frac : '');
}

/** group sets commas between the thousands of a decimal text. */
export function group(text) {
  const [whole, frac] = text.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  return frac === undefined ? grouped : `${grouped}.${frac}`;
}

/** pad returns a decimal text with at least min decimals, grouped, for a column. */
export function pad(text, min) {
  const scale = Math.max(scaleOf(text), min);
  const units = parse(text, scale);
  return units === null ? text : group(format(units, scale));
}

/** rescale turns units of 10^-from into units of 10^-to, rounded down, or up when asked. */
export function rescale(units, from, to, up = false) {
  if (to >= from) return units * 10n ** BigInt(to - from);
  const step = 10n ** BigInt(from - to);
  const floor = units >= 0n ? units / step : -((-units + step - 1n) / step);
  return up && floor * step !== units ? floor + 1n : floor;
}

/** ratio returns part/whole of two BigInts as a number between 0 and 1, for lengths on the screen. */
export function ratio(part, whole) {
  if (whole <= 0n || part <= 0n) return 0;
  return part >= whole ? 1 : Number((part * 1000000n) / whole) / 1000000;
}

/** change returns the way from one price to another in percent, with two decimals and a sign, or '' without a start. */
export function change(from, to) {
  if (from <= 0n) return '';
  const moved = to - from;
  const size = (moved < 0n ? -moved : moved) * 10000n;
  const hundredths = (size + from / 2n) / from;
  const sign = moved > 0n ? '+' : moved < 0n ? '-' : '';
  return `${sign}${format(hundredths, 2)}%`;
}
