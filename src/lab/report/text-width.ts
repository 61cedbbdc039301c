/**
 * How wide a text will be. Vega lays out axes with it; without a browser it has no fonts to ask, and its own guess,
 * 0.8 em for every character, wastes a third of a phone's width.
 */

/** Vega's hook; its types do not name it. */
export interface TextMetrics {
  width: (item: { readonly fontSize?: number }, text: unknown) => number;
}

const NARROW = /[ijl.,:;'|!()[\]ft\s·]/;
const BROAD = /[mwMW@%—≈×]/;
const TALL = /[A-Z]/;

/** CSS pixels in a sans-serif of ordinary width, rather too many than too few. */
export function textWidth({ fontSize = 12 }: { readonly fontSize?: number }, text: unknown): number {
  const em = [...String(text ?? '')].reduce((sum, c) => sum + widthOf(c), 0);
  return em * fontSize;
}

/** In em. */
function widthOf(c: string): number {
  if (NARROW.test(c)) return 0.37;
  if (BROAD.test(c)) return 0.92;
  return TALL.test(c) ? 0.7 : 0.61;
}
