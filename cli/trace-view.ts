/** Causal tracing and a sweep over layers as a person sees them: grids of effects, and which layer they point to. */
import { TOKEN_KINDS, bestLayer, layerContrast } from '../src/lab/trace-average.ts';
import type { AverageTracing, LayerScore } from '../src/lab/trace-average.ts';
import { TRACE_SITES, type TraceSite } from '../src/lab/trace-runs.ts';
import type { Tracing } from '../src/lab/trace.ts';
import { percent } from '../src/numerals.ts';
import { quoted } from '../src/printable.ts';
import { left, right } from '../src/table.ts';
import type { Terminal } from './terminal.ts';

const SHADES = ' ░▒▓█';
/** Effects printed as numbers where there are few layers. */
const MOST_NUMBERS = 12;

export function showTracing(terminal: Terminal, tracing: Tracing): void {
  const { tokens, subject, object, clean, corrupted, samples, noise, window, effects } = tracing;
  terminal.heading(`Causal tracing of${object}`);
  terminal.say(
    `  p(${quoted(object)}) is ${percent(Math.log(clean))} in the clean run, and ${percent(Math.log(corrupted))} ` +
      `over ${samples} runs with noise of deviation ${noise.toPrecision(3)} on the subject (*). What comes back, in percent points:`,
    '  ',
  );
  if (clean <= corrupted)
    terminal.say(
      `  Noise does not make it less likely: the model does not recall${object} here, and what comes back is no recall.`,
      '  ',
    );
  const names = tokens.map((token, t) => `${quoted(token)}${t >= subject[0] && t < subject[1] ? ' *' : ''}`);
  for (const site of TRACE_SITES) {
    const rows = effects[site]?.map((row, t): Row => [names[t] ?? '', row]);
    if (rows) showGrid(terminal, titleOf(site, window), rows);
  }
}

export function showAverage(terminal: Terminal, average: AverageTracing): void {
  const { n, clean, corrupted, window, effects } = average;
  terminal.heading(`Average over ${n} facts`);
  terminal.say(
    `  ${percent(Math.log(clean))} in the clean runs, ${percent(Math.log(corrupted))} in the corrupted ones`,
    '  ',
  );
  for (const site of TRACE_SITES) {
    const found = effects[site];
    const kinds = TOKEN_KINDS.map((kind): Row => [kind, found?.[kind] ?? []]);
    const rows = kinds.filter(([, row]) => row.length > 0);
    if (found) showGrid(terminal, titleOf(site, window), rows);
  }
  const found = layerContrast(average);
  if (!found) return;
  const { layer, next, difference, margin } = found;
  const [points, around] = [difference, margin].map((x) => (100 * x).toFixed(1));
  const by = `MLPs at the subject's last token restore most around layer ${layer}, ${points} points more than around layer ${next}`;
  terminal.say(
    difference > margin
      ? `  ${by} (± ${around} over the facts): try --layer ${layer}`
      : `  ${by}. ${Number.isNaN(margin) ? `${n} facts do not tell` : `With ± ${around} over ${n} facts that does not tell`} the layers apart: ` +
          'trace more with --facts, or edit at each layer with --sweep',
    '  ',
  );
}

export function showSweep(terminal: Terminal, scores: readonly LayerScore[]): void {
  terminal.heading(`Single edits at each layer (${scores[0]?.n ?? 0} facts)`);
  const best = bestLayer(scores);
  terminal.table(scores, [
    right('layer', ({ layer }) => layer),
    right('ES', ({ ES }) => ES.toFixed(1)),
    right('PS', ({ PS }) => PS?.toFixed(1)),
    right('NS', ({ NS }) => NS.toFixed(1)),
    right('S', ({ score }) => score.toFixed(1)),
    left('', ({ layer }) => (layer === best ? 'best' : '')),
  ]);
}

type Row = readonly [name: string, effects: readonly number[]];

function showGrid(terminal: Terminal, title: string, rows: readonly Row[]): void {
  const layers = rows[0]?.[1].length ?? 0;
  const most = Math.max(...rows.flatMap(([, row]) => row), Number.MIN_VALUE);
  const shade = (x: number): string =>
    SHADES[Math.min(SHADES.length - 1, Math.max(0, Math.round((x / most) * (SHADES.length - 1))))] ?? ' ';
  terminal.print();
  const number = (x: number): string => `${shade(x)}${(100 * x).toFixed(1).padStart(5)}`;
  terminal.table(rows, [
    left(`  ${title}`, ([name]) => `  ${name}`),
    ...(layers <= MOST_NUMBERS
      ? Array.from({ length: layers }, (_, l) => right(`${l}`, ([, row]: Row) => number(row[l] ?? NaN)))
      : [left(`layers 0 to ${layers - 1}`, ([, row]: Row) => row.map(shade).join(''))]),
  ]);
}

function titleOf(site: TraceSite, window: number): string {
  return site === 'state' ? 'hidden state' : `${site === 'mlp' ? 'MLP' : site}, ${window} layers`;
}
