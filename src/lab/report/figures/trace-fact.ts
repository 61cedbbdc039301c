/** Causal tracing of one fact: tokens by layers. */
import type { Tracing } from '../../trace.ts';
import type { TraceSite } from '../../trace-runs.ts';
import type { Figure, Study } from '../study.ts';
import type { HeatPanel } from './heat-map.ts';
import { heatMap } from './heat-map.ts';

const percent = (p: number): string => `${(100 * p).toFixed(1)} %`;

export function panelTitle(site: TraceSite, window: number): string {
  const around = window === 1 ? '1 layer' : `${window} layers`;
  return { state: 'hidden state', mlp: `MLP, ${around}`, attention: `attention, ${around}` }[site];
}

export function traceFact({ trace }: Study): Figure | undefined {
  if (!trace) return undefined;
  const { request, object, clean, corrupted, samples } = trace;
  const found = panels(trace);
  return {
    name: 'trace-fact',
    title: `Where “${request.subject}” is turned into “${object.trim()}”`,
    caption:
      `“${request.prompt.replace('{}', request.subject)}”: the model gives${object} ${percent(clean)}; with noise on the subject (*) ${percent(corrupted)}. ` +
      `A square is how much of it comes back when one state is that of the clean run, over ${samples} samples. Each panel has its own scale.`,
    draw: (size) => heatMap(size, found, 'indirect effect'),
  };
}

function panels({ tokens, subject, effects, window }: Tracing): HeatPanel[] {
  const words = tokens.map((token, t) => {
    const mark = t >= subject[0] && t < subject[1] ? '*' : '';
    return `${String(t).padStart(2, '\u2007')} ${token}${mark}`;
  });
  return (Object.keys(effects) as TraceSite[]).map((site) => ({
    title: panelTitle(site, window),
    cells: (effects[site] ?? []).flatMap((row, t) =>
      row.map((effect, layer) => ({ row: words[t] ?? '', layer, effect })),
    ),
  }));
}
