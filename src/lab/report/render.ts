/** From a vega-lite specification to SVG, without a browser. Vega is large and is loaded when the first figure is drawn. */
import type { LoggerInterface as Logger } from 'vega';
import type { TopLevelSpec } from 'vega-lite';
import { darkRules } from './palette.ts';
import { textWidth } from './text-width.ts';
import type { TextMetrics } from './text-width.ts';
import { THEME } from './theme.ts';

export type Draw = (spec: TopLevelSpec) => Promise<string>;

/** @throws Error for anything that vega or vega-lite warns about: a figure with a warning is wrong */
export async function loadRenderer(): Promise<Draw> {
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')]);
  (vega as unknown as { textMetrics: TextMetrics }).textMetrics.width = textWidth;
  return async (spec) => {
    const { logger, problems } = listen();
    const compiled = lite.compile(spec, { logger }).spec;
    const view = new vega.View(vega.parse(compiled), { renderer: 'none', logger });
    try {
      const svg = await view.toSVG();
      if (problems.length > 0) throw new Error(`figure: ${problems.map(String).join('; ')}`);
      return svg;
    } finally {
      view.finalize();
    }
  };
}

/** A logger of vega's kind that keeps what it is told. */
function listen(): { logger: Logger; problems: unknown[] } {
  const problems: unknown[] = [];
  const keep = (...words: readonly unknown[]): Logger => {
    problems.push(...words);
    return logger;
  };
  const drop = (): Logger => logger;
  const logger: Logger = {
    level: (() => logger) as Logger['level'],
    error: keep,
    warn: keep,
    info: drop,
    debug: drop,
  };
  return { logger, problems };
}

/** The specification as saved beside the report: complete, with data and theme. */
export function complete(spec: TopLevelSpec): TopLevelSpec {
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    ...spec,
    config: THEME,
  } as TopLevelSpec;
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
