/**
 * The colours of all figures, each in a light and a dark version.
 *
 * Figures are drawn with the light ones as plain attributes, so that an .svg is right in any viewer; style rules that
 * match those attributes put the dark ones in their place where the reader's system is dark.
 */
import type { Method } from '../../edit/method.ts';

/** [light, dark]; no two light ones are equal. */
export const PALETTE = {
  ink: ['#1e2126', '#ebe8e1'],
  soft: ['#5a616d', '#a5abb6'],
  axis: ['#b9bbb8', '#4a505a'],
  grid: ['#e6e5df', '#2b3037'],
  paper: ['#fffffe', '#1a1d22'],
  rome: ['#c4420f', '#ff8f63'],
  'p-rome': ['#8a6500', '#e6b93c'],
  'r-rome': ['#1465ad', '#70b4f5'],
  alarm: ['#9b1c31', '#ff7a90'],
} as const satisfies Record<string, readonly [string, string]>;

/** From nothing to most, one hue: steps of a heat map. */
export const RAMP: readonly (readonly [light: string, dark: string])[] = [
  ['#f2f1ec', '#23272d'],
  ['#dde7ec', '#22343f'],
  ['#c2d8e4', '#214254'],
  ['#a1c5d9', '#24536c'],
  ['#7aaecb', '#2b6786'],
  ['#5394ba', '#3b7fa3'],
  ['#3478a4', '#5699bf'],
  ['#1d5c89', '#7bb5d8'],
  ['#0d426b', '#a8d3ee'],
];

export const light = (name: keyof typeof PALETTE): string => PALETTE[name][0];

/** Methods in the order of legends, with the shape that tells them apart without colour. */
export const METHOD_MARKS: Readonly<Record<Method, { readonly title: string; readonly shape: string }>> = {
  rome: { title: 'ROME', shape: 'triangle-up' },
  'p-rome': { title: 'p-ROME', shape: 'square' },
  'r-rome': { title: 'r-ROME', shape: 'circle' },
};

const PAIRS = [...Object.values(PALETTE), ...RAMP];

/** Rules that turn a figure inside `scope` dark. */
export function darkRules(scope = ''): string {
  return PAIRS.map(([plain, dark]) =>
    `${scope} [fill="${plain}"]{fill:${dark}}${scope} [stroke="${plain}"]{stroke:${dark}}`.trim(),
  ).join('\n');
}
