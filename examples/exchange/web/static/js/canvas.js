// What both charts share: a canvas as sharp as the screen, the page's colours,
// and round steps for an axis.

import { touch } from './dom.js';

/** Surface keeps a canvas at the resolution of the screen and draws in CSS pixels. */
export class Surface {
  constructor(canvas, painter) {
    this.canvas = canvas;
    this.ctx = canvas.getContext('2d');
    this.width = 0;
    this.height = 0;
    this.painter = painter;
    const observer = new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.height = entry.contentRect.height;
      this.pixels = entry.devicePixelContentBoxSize?.[0]; // exact, where the browser tells
      touch(painter);
    });
    try {
      observer.observe(canvas, { box: 'device-pixel-content-box' });
    } catch {
      observer.observe(canvas);
    }
    document.addEventListener('themechange', () => {
      this.palette = null;
      touch(painter);
    });
  }

  /** begin clears the canvas and returns its context, or null while there is nothing to see. */
  begin() {
    if (this.width < 20 || this.height < 20) return null;
    const ratio = devicePixelRatio || 1;
    // The exact number counts unless it is of another screen: an emulated one.
    const sharp = (css, exact) => (Math.abs(css * ratio - exact) < 1 ? exact : Math.round(css * ratio));
    const w = sharp(this.width, this.pixels?.inlineSize);
    const h = sharp(this.height, this.pixels?.blockSize);
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.ctx.setTransform(w / this.width, 0, 0, h / this.height, 0, 0);
    this.ctx.clearRect(0, 0, this.width, this.height);
    this.ctx.font = `11px ${this.colours.font}`;
    this.ctx.lineWidth = 1;
    return this.ctx;
  }

  get colours() {
    if (!this.palette) {
      const style = getComputedStyle(document.documentElement);
      const get = (name) => style.getPropertyValue(`--${name}`).trim();
      this.palette = {
        font: getComputedStyle(document.body).fontFamily,
        panel: get('panel'),
        text: get('text'),
        muted: get('muted'),
        grid: get('grid'),
        line: get('line'),
        strong: get('line-strong'),
        accent: get('accent'),
        onAccent: get('on-accent'),
        buy: get('buy'),
        sell: get('sell'),
        buyBar: get('buy-bar'),
        sellBar: get('sell-bar'),
      };
    }
    return this.palette;
  }

  /** line draws a straight line on the pixel grid. */
  line(x1, y1, x2, y2, colour, dash = []) {
    const { ctx } = this;
    ctx.strokeStyle = colour;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    ctx.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /** tag writes a text on a coloured ground, its right edge at x. */
  tag(text, x, y, ground, ink) {
    const { ctx } = this;
    const w = ctx.measureText(text).width + 10;
    ctx.fillStyle = ground;
    ctx.beginPath();
    ctx.roundRect(x - w, y - 9, w, 18, 3);
    ctx.fill();
    ctx.fillStyle = ink;
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    ctx.fillText(text, x - 5, y + 0.5);
  }
}

/** roundStep returns 1, 2 or 5 times a power of ten, in units, so that range has at most parts steps. */
export function roundStep(range, parts) {
  const least = range / BigInt(Math.max(1, parts)) + 1n;
  let power = 1n;
  while (power * 10n <= least) power *= 10n;
  for (const m of [1n, 2n, 5n, 10n]) if (m * power >= least) return m * power;
  return power * 10n;
}

/** part returns where value lies between low and high, as a number for the screen: 0 at low, 1 at high. */
export function part(value, low, high) {
  return high === low ? 0.5 : Number(value - low) / Number(high - low);
}
