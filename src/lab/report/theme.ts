/** What all figures look like: colours, sizes, letters, axes and marks. One place, so that they belong together. */
import type { Config } from 'vega-lite';
import { METHOD_TABLE } from '../../edit/method.ts';
import type { MassMethod, Method } from '../../edit/method.ts';

export type AnyMethod = Method | MassMethod;

/** A figure is drawn twice: for a desk and for a phone. Letters have the same size in both. */
export type Size = 'wide' | 'narrow';

/** CSS pixels, axes included. */
export const WIDTH: Readonly<Record<Size, number>> = { wide: 712, narrow: 328 };

export const FONT = 'system-ui, -apple-system, "Segoe UI", "Open Sans", Helvetica, Arial, sans-serif';

/**
 * The colours of all figures, [light, dark]; no two light ones are equal. Figures are drawn with the light ones as plain
 * attributes, so that an .svg is right in any viewer; style rules that match those attributes put the dark ones in
 * their place where the reader's system is dark.
 */
export const PALETTE = {
  ink: ['#1e2126', '#ebe8e1'],
  soft: ['#5a616d', '#a5abb6'],
  axis: ['#b9bbb8', '#4a505a'],
  grid: ['#e6e5df', '#2b3037'],
  rome: ['#c4420f', '#ff8f63'],
  'p-rome': ['#8a6500', '#e6b93c'],
  'r-rome': ['#1465ad', '#70b4f5'],
  memit: ['#2b7a46', '#6fcf8f'],
  emmet: ['#7b42a8', '#c79bf0'],
  encore: ['#0b7f86', '#55cbd2'],
  alphaedit: ['#b1287a', '#f28cc8'],
  alarm: ['#9b1c31', '#ff7a90'],
} as const satisfies Record<string, readonly [light: string, dark: string]>;

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

/** Rules that turn a figure inside `scope` dark. */
export function darkRules(scope = ''): string {
  return [...Object.values(PALETTE), ...RAMP]
    .map(([plain, dark]) =>
      `${scope} [fill="${plain}"]{fill:${dark}}${scope} [stroke="${plain}"]{stroke:${dark}}`.trim(),
    )
    .join('\n');
}

export const title = (method: AnyMethod): string => METHOD_TABLE[method].title;

/** Methods in the order of legends, with the shape that tells them apart without colour. */
export const SHAPES: Readonly<Record<AnyMethod, string>> = {
  rome: 'triangle-up',
  'p-rome': 'square',
  'r-rome': 'circle',
  memit: 'diamond',
  emmet: 'cross',
  encore: 'triangle-down',
  alphaedit: 'triangle-right',
};

const label = { labelColor: light('soft'), labelFontSize: 12 };
const heading = { titleColor: light('ink'), titleFontSize: 12.5, titleFontWeight: 500 } as const;

export const THEME: Config = {
  background: 'transparent',
  font: FONT,
  padding: { left: 2, right: 6, top: 4, bottom: 2 },
  view: { stroke: null },
  line: { strokeWidth: 2 },
  rule: { strokeDash: [5, 4], strokeWidth: 1.2 },
  point: { filled: true, size: 44, opacity: 0.85 },
  axis: {
    ...label,
    ...heading,
    domainColor: light('axis'),
    tickColor: light('axis'),
    gridColor: light('grid'),
    labelPadding: 5,
    titlePadding: 9,
    tickSize: 4,
    labelLimit: 0,
  },
  axisX: { labelFlush: false, labelOverlap: true, labelAngle: 0, grid: false },
  // The title of a vertical axis lies over it, so that it reads as text.
  axisY: {
    titleAngle: 0,
    titleAlign: 'left',
    titleAnchor: 'end',
    titleY: -14,
    titleX: 0,
    titleBaseline: 'bottom',
    domain: false,
    ticks: false,
  },
  title: { anchor: 'start', frame: 'group', fontSize: 13, fontWeight: 600, color: light('ink'), offset: 8 },
  header: {
    labelColor: light('ink'),
    labelFontSize: 13,
    labelFontWeight: 600,
    labelAnchor: 'start',
    title: null,
    labelPadding: 4,
  },
  legend: {
    ...heading,
    orient: 'top',
    direction: 'horizontal',
    title: null,
    labelColor: light('ink'),
    labelFontSize: 12.5,
    symbolSize: 90,
    symbolStrokeWidth: 2,
    offset: 34,
    titleLimit: 0,
    // Shorter than a panel of a heat map on a desk.
    gradientLength: 148,
    gradientThickness: 12,
    gradientStrokeColor: light('axis'),
    columnPadding: 18,
  },
};
