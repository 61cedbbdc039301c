/** What a sequence of edits does to the model's language: perplexity of held-out text, entropy of its own. */
import { logAxis } from '../log-axis.ts';
import type { Figure, SequenceRun, Study } from '../study.ts';
import type { Size } from '../theme.ts';
import { WIDTH, methodScales, title } from '../theme.ts';

type Measure = 'perplexity' | 'entropy';
const PANELS: Readonly<Record<Measure, string>> = {
  perplexity: 'Perplexity of held-out text',
  entropy: 'Entropy of generated words',
};

export function languageByEdit({ sequences = [] }: Study): Figure | undefined {
  const panels = (Object.keys(PANELS) as Measure[])
    .map((measure) => ({ measure, values: points(sequences, measure) }))
    .filter(({ values }) => values.length > 0);
  if (panels.length === 0) return undefined;
  return {
    name: 'language-by-edit',
    title: 'What happens to its language',
    caption:
      'Perplexity: how surprised the model is by text it was trained on. Entropy of the words it writes, over its greatest possible value: ' +
      'a text that repeats itself sinks towards 0. Edit 0 is the unedited model.',
    draw: (size) => ({
      columns: size === 'wide' ? 2 : 1,
      spacing: 22,
      concat: panels.map(({ measure, values }) => panel(size, measure, values, sequences, panels.length)),
    }),
  };
}

interface Point {
  readonly edit: number;
  readonly value: number;
  readonly method: string;
}

function panel(
  size: Size,
  measure: Measure,
  values: readonly Point[],
  sequences: readonly SequenceRun[],
  of: number,
) {
  const columns = size === 'wide' ? of : 1;
  const { color, shape } = methodScales(sequences.map(({ method }) => method));
  const { domain, axis } = logAxis(
    values.map(({ value }) => value),
    7,
  );
  const legend = { offset: 34 };
  return {
    title: PANELS[measure],
    width: Math.floor((WIDTH[size] - 22 * (columns - 1)) / columns) - 56,
    height: 180,
    data: { values: [...values] },
    mark: { type: 'line' as const, strokeWidth: 2, point: { filled: true, size: 34 } },
    encoding: {
      x: {
        field: 'edit',
        type: 'quantitative' as const,
        title: 'edit',
        scale: { nice: false, padding: 6 },
        axis: { grid: false, tickCount: 5 },
      },
      y: {
        field: 'value',
        type: 'quantitative' as const,
        title: null,
        ...(measure === 'perplexity'
          ? {
              scale: { type: 'log' as const, domain, nice: false },
              axis: { values: axis.values, format: ',' },
            }
          : { scale: { zero: false }, axis: { tickCount: 4 } }),
      },
      color: { field: 'method', type: 'nominal' as const, scale: color, legend },
      shape: { field: 'method', type: 'nominal' as const, scale: shape, legend },
    },
  };
}

function points(sequences: readonly SequenceRun[], measure: Measure): Point[] {
  return sequences.flatMap(({ method, head, lines }) =>
    [{ edit: 0, ...head.before }, ...lines].flatMap((line) => {
      const value = line[measure];
      const shown =
        typeof value === 'number' && Number.isFinite(value) && (measure === 'entropy' || value > 0);
      return shown ? [{ edit: line.edit, value, method: title(method) }] : [];
    }),
  );
}
