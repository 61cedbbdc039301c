/** Causal tracing over many facts: kinds of tokens by layers. */
import { TOKEN_KINDS, recommendedLayer } from '../../trace-average.ts';
import type { TraceSite } from '../../trace-runs.ts';
import type { Figure, Study } from '../study.ts';
import { heatMap } from './heat-map.ts';
import { panelTitle } from './trace-fact.ts';

export function traceAverage({ average }: Study): Figure | undefined {
  if (!average || average.n === 0) return undefined;
  const { n, clean, corrupted, window, effects } = average;
  const panels = (Object.keys(effects) as TraceSite[]).map((site) => ({
    title: panelTitle(site, window),
    cells: TOKEN_KINDS.flatMap((kind) =>
      (effects[site]?.[kind] ?? []).map((effect, layer) => ({ row: kind, layer, effect })),
    ),
  }));
  const layer = recommendedLayer(average);
  const peak =
    layer === undefined ? '' : ` MLPs at the subject's last token matter most around layer ${layer}.`;
  return {
    name: 'trace-average',
    title: `Where facts are recalled, over ${n} of them`,
    caption: `The average indirect effect of restoring one kind of token, each panel with its own scale. On average the object has ${(100 * clean).toFixed(0)} % in the clean runs and ${(100 * corrupted).toFixed(1)} % in the corrupted ones.${peak}`,
    draw: (size) => heatMap(size, panels, 'average effect'),
  };
}
