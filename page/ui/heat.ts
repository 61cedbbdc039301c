/** Numbers as cells of colour on a canvas: below zero the colour of what was, above zero that of what is new. */
import type { Matrix, Vector } from '../engine/protocol.ts';
import { h } from './dom.ts';

/** Cells of a row: a vector of 256 is 4 rows high, one of 1024 is 16. */
const ACROSS = 64;

export interface HeatOptions {
  readonly label: string;
  /** The largest magnitude; absent: that of the numbers. */
  readonly scale?: number;
  /** Numbers above zero in the colour of what was there. */
  readonly old?: boolean;
}

const drawn = new Set<WeakRef<() => void>>();
const alive = new WeakMap<HTMLCanvasElement, () => void>();

/** Draws everything again: colours are those of the theme. */
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const ref of drawn) {
    const draw = ref.deref();
    if (draw) draw();
    else drawn.delete(ref);
  }
});

export function vectorHeat(values: Vector, options: HeatOptions): HTMLCanvasElement {
  const cols = Math.min(ACROSS, values.length);
  return matrixHeat({ rows: Math.ceil(values.length / cols), cols, values }, options);
}

export function matrixHeat(
  { rows, cols, values }: Matrix,
  { label, scale, old = false }: HeatOptions,
): HTMLCanvasElement {
  const canvas = h('canvas', { class: 'heat', width: cols, height: rows, role: 'img', 'aria-label': label });
  const most = scale ?? quantile(values, 0.995);
  const draw = (): void => {
    const context = canvas.getContext('2d');
    if (!context) return;
    const [below, zero, above] = ['--old', '--sheet', '--new'].map(colour) as [Rgb, Rgb, Rgb];
    const image = context.createImageData(cols, rows);
    for (let i = 0; i < values.length; i += 1) {
      const t = Math.max(-1, Math.min(1, (values[i] ?? 0) / (most || 1)));
      const end = t < 0 || old ? below : above;
      const weight = Math.sqrt(Math.abs(t)); // small numbers are to be seen as well
      for (let c = 0; c < 3; c += 1)
        image.data[4 * i + c] = (zero[c] ?? 0) + weight * ((end[c] ?? 0) - (zero[c] ?? 0));
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  };
  alive.set(canvas, draw);
  drawn.add(new WeakRef(draw));
  draw();
  return canvas;
}

type Rgb = readonly [number, number, number];

/** A colour of the theme, as numbers. */
function colour(name: string): Rgb {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const hex = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text);
  return hex ? ([1, 2, 3].map((i) => parseInt(hex[i] ?? '0', 16)) as unknown as Rgb) : [128, 128, 128];
}

function quantile(values: Vector, q: number): number {
  const sorted = values.map(Math.abs).sort();
  return sorted[Math.floor(q * (sorted.length - 1))] ?? 1;
}
