/**
 * What all figures look like: colours, sizes, letters, axes and marks in one place, so that they belong together; and from a
 * vega-lite specification to SVG, without a browser. Vega is large and is loaded when the first figure is drawn.
 */
import type { LoggerInterface as Logger } from 'vega';
import type { Config, TopLevelSpec } from 'vega-lite';
import { METHOD_TABLE, type MassMethod, type Method } from '../../edit/method.ts';
import { printableLines } from '../../printable.ts';

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

const THEME: Config = {
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

/** @throws Error for anything that vega or vega-lite warns about: a figure with a warning is wrong */
export async function svgOf(spec: TopLevelSpec): Promise<string> {
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')]);
  // Vega's own hook, which its types do not name.
  (vega as unknown as { textMetrics: { width: typeof textWidth } }).textMetrics.width = textWidth;
  const problems: unknown[] = [];
  const keep = (...words: readonly unknown[]): Logger => (problems.push(...words), logger);
  const drop = (): Logger => logger;
  const level = drop as Logger['level'];
  const logger: Logger = { level, error: keep, warn: keep, info: drop, debug: drop };
  const compiled = lite.compile(spec, { logger }).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: 'none', logger });
  try {
    const svg = printableLines(await view.toSVG(), Infinity); // a token's control is no character of XML
    if (problems.length > 0) throw new Error(`figure: ${problems.map(String).join('; ')}`);
    return svg;
  } finally {
    view.finalize();
  }
}

/** The specification as saved beside the report: with theme, and a single plot with its width. */
export function complete(spec: TopLevelSpec, size: Size): TopLevelSpec {
  const single = !('concat' in spec || 'facet' in spec);
  const fit = { width: WIDTH[size], autosize: { type: 'fit', contains: 'padding' } };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    ...(single ? fit : undefined),
    ...spec,
    config: THEME,
  } as TopLevelSpec;
}

const NARROW = /[ijl.,:;'|!()[\]ft\s·]/;
const BROAD = /[mwMW@%—≈×]/;
const CAPITAL = /[A-Z]/;

/**
 * How wide a text will be, for Vega to lay out axes with: without a browser it has no fonts to ask, and its own guess,
 * 0.8 em for every character, wastes a third of a phone's width.
 *
 * @returns CSS pixels in a sans-serif of ordinary width, rather too many than too few
 */
export function textWidth({ fontSize = 12 }: { readonly fontSize?: number }, text: unknown): number {
  const em = (c: string): number => {
    if (NARROW.test(c)) return 0.37;
    if (BROAD.test(c)) return 0.92;
    return CAPITAL.test(c) ? 0.7 : 0.61;
  };
  return fontSize * [...String(text ?? '')].reduce((sum, c) => sum + em(c), 0);
}

/** An SVG file of its own: light, and dark where the reader's system is. */
export function standalone(svg: string): string {
  const style = `<style>@media (prefers-color-scheme:dark){${darkRules()}}</style>`;
  return svg.replace(/(<svg[^>]*>)/, `$1${style}`);
}

/** Ids of clip paths and gradients are counted from 0 in every figure; on one page each needs its own. */
export function withOwnIds(svg: string, prefix: string): string {
  return svg
    .replace(/\bid="([^"]+)"/g, `id="${prefix}-$1"`)
    .replace(/url\(#([^)]+)\)/g, `url(#${prefix}-$1)`);
}
