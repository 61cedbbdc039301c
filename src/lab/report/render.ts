/** From a vega-lite specification to SVG, without a browser. Vega is large and is loaded when the first figure is drawn. */
import type { LoggerInterface as Logger } from 'vega';
import type { TopLevelSpec } from 'vega-lite';
import { printableLines } from '../../printable.ts';
import { THEME, WIDTH, darkRules } from './theme.ts';
import type { Size } from './theme.ts';

type Draw = (spec: TopLevelSpec) => Promise<string>;

/** @throws Error for anything that vega or vega-lite warns about: a figure with a warning is wrong */
export async function loadRenderer(): Promise<Draw> {
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')]);
  // Vega's own hook, which its types do not name.
  (vega as unknown as { textMetrics: { width: typeof textWidth } }).textMetrics.width = textWidth;
  return async (spec) => {
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
  };
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
