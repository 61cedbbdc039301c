/** Figures of where a model keeps its facts: causal tracing, and edits at each layer. */
import { sentence } from '../../edit/template.ts';
import { plural } from '../../numerals.ts';
import { TOKEN_KINDS, bestLayer, recommendedLayer } from '../trace-average.ts';
import type { TraceSite } from '../trace-runs.ts';
import { panels, quantity } from './axes.ts';
import { fixed } from './wording.ts';
import type { Figure, Study } from './study.ts';
import { RAMP, light, textWidth, type Size } from './theme.ts';

/** Effects of one site: [row][layer]. */
type Effects = readonly (readonly number[])[];

interface HeatMap {
  readonly rows: readonly string[];
  readonly effects: Readonly<Partial<Record<TraceSite, Effects>>>;
  readonly window: number;
  readonly legend: string;
}

/** Layers named on the axis at most. */
const MOST_LAYERS = 12;

/** Rows by layers, a panel for each site with a scale of its own. */
function heatMap(size: Size, { rows, effects, window, legend }: HeatMap) {
  const around = window === 1 ? '1 layer' : `${window} layers`;
  const titles = { state: 'hidden state', mlp: `MLP, ${around}`, attention: `attention, ${around}` };
  const words = Math.max(...rows.map((row) => textWidth({ fontSize: 12 }, row))) + 28;
  const bare = { domain: false, ticks: false } as const;
  const sites = Object.entries(effects) as [TraceSite, Effects][];
  const spec = panels(size, sites, { columns: 3, axes: () => words }, ([site, found], width, first) => {
    const layers = found.find((row) => row.length > 0)?.map((_, layer) => layer) ?? [];
    const step = Math.ceil(layers.length / MOST_LAYERS);
    return {
      title: titles[site],
      width,
      height: 20 * rows.length,
      data: {
        values: found.flatMap((row, r) => row.map((effect, layer) => ({ row: rows[r], layer, effect }))),
      },
      mark: { type: 'rect', strokeWidth: 0 },
      encoding: {
        x: {
          field: 'layer',
          type: 'ordinal',
          title: 'layer',
          axis: { ...bare, values: layers.filter((layer) => layer % step === 0) },
        },
        // Panels side by side share the words of the first.
        y: {
          field: 'row',
          type: 'nominal',
          title: null,
          scale: { domain: [...rows] },
          axis: first ? bare : null,
        },
        color: quantity('effect', null, {
          scale: {
            type: 'quantize',
            domain: [0, Math.max(...found.flat(), 1e-6)],
            range: RAMP.map(([plain]) => plain),
          },
          legend: {
            title: legend,
            orient: 'bottom',
            titleOrient: 'top',
            format: '.2~r',
            labelSeparation: 10,
            offset: 10,
          },
        } as const),
      },
    };
  });
  return { ...spec, resolve: { scale: { color: 'independent' } } } as const;
}

export function traceAverage({ average }: Study): Figure | undefined {
  if (!average || average.n === 0) return undefined;
  const { n, clean, corrupted, window } = average;
  const effects = Object.fromEntries(
    Object.entries(average.effects).map(([site, found]) => [site, TOKEN_KINDS.map((kind) => found[kind])]),
  );
  const layer = recommendedLayer(average);
  const peak =
    layer === undefined ? '' : ` MLPs at the subject's last token matter most around layer ${layer}.`;
  return {
    name: 'trace-average',
    title: `Where facts are recalled, over ${n} of them`,
    caption: `The average indirect effect of restoring one kind of token, each panel with its own scale. On average the object has ${fixed(100 * clean, 0)} % in the clean runs and ${fixed(100 * corrupted)} % in the corrupted ones.${peak}`,
    draw: (size) => heatMap(size, { rows: TOKEN_KINDS, effects, window, legend: 'average effect' }),
  };
}

export function traceFact({ trace }: Study): Figure | undefined {
  if (!trace) return undefined;
  const { request, object, clean, corrupted, samples, tokens, subject, effects, window } = trace;
  const rows = tokens.map((token, t) => {
    const mark = t >= subject[0] && t < subject[1] ? '*' : '';
    return `${String(t).padStart(2, '\u2007')} ${token}${mark}`;
  });
  const prompt = sentence(request);
  return {
    name: 'trace-fact',
    title: `Where “${request.subject}” is turned into “${object.trim()}”`,
    caption:
      `“${prompt}”: the model gives${object} ${fixed(100 * clean)} %; with noise on the subject (*) ${fixed(100 * corrupted)} %. ` +
      `A square is how much of it comes back when one state is that of the clean run, over ${samples} samples. Each panel has its own scale.`,
    draw: (size) => heatMap(size, { rows, effects, window, legend: 'indirect effect' }),
  };
}

/** Metrics of the sweep in the order of the legend. */
const METRICS = { ES: 'rome', PS: 'p-rome', NS: 'r-rome', S: 'ink' } as const;

/** Edits at each layer: where they work, and where they leave the rest alone. */
export function sweep({ sweep: scores = [] }: Study): Figure | undefined {
  const best = bestLayer(scores);
  if (best === undefined) return undefined;
  const values = scores.flatMap(({ layer, ES, PS, NS, score: S }) =>
    Object.entries({ ES, PS, NS, S }).flatMap(([metric, value]) =>
      value === undefined ? [] : [{ layer, metric, value }],
    ),
  );
  const domain = Object.keys(METRICS).filter((name) => values.some(({ metric }) => metric === name));
  const range = domain.map((name) => light(METRICS[name as keyof typeof METRICS]));
  return {
    name: 'sweep',
    title: 'Which layer to edit',
    caption: `${plural(scores[0]?.n ?? 0, 'single edit')} at each layer, in percent; S is the harmonic mean of the others. Best: layer ${best}.`,
    draw: () => ({
      height: 230,
      data: { values },
      mark: { type: 'line', point: true },
      encoding: {
        x: { field: 'layer', type: 'ordinal', title: 'layer' },
        y: quantity('value', 'percent', { scale: { domain: [0, 100] } }),
        color: { field: 'metric', type: 'nominal', scale: { domain, range } },
      },
    }),
  };
}
