/** Metrics of the latest edits of a sequence. */
import type { Figure, SequenceRun, Study } from '../study.ts';
import { title } from '../theme.ts';
import type { PanelPoint } from './small-multiples.ts';
import { smallMultiples } from './small-multiples.ts';

const PANELS = { ES: 'Efficacy, ES', PS: 'Paraphrase, PS', NS: 'Neighbourhood, NS', S: 'Score, S' } as const;

export function metricsByEdit({ sequences = [] }: Study): Figure | undefined {
  const values = metricPoints(sequences, 'recent');
  if (values.length === 0) return undefined;
  return {
    name: 'metrics-by-edit',
    title: 'Do new edits still work?',
    caption:
      'Measured on the edits made since the last measurement: ES and PS, the share of prompts and of paraphrases after which the new object is likelier than the old; ' +
      'NS, of neighbouring subjects that keep theirs; S, the harmonic mean of the three. Percent.',
    draw: (size) => smallMultiples(size, values, panelsOf(sequences)),
  };
}

export function panelsOf(sequences: readonly SequenceRun[]): Parameters<typeof smallMultiples>[2] {
  return { panels: Object.values(PANELS), methods: sequences.map(({ method }) => method), domain: [0, 100] };
}

export function metricPoints(sequences: readonly SequenceRun[], which: 'recent' | 'earlier'): PanelPoint[] {
  return sequences.flatMap(({ method, lines }) =>
    lines.flatMap(({ edit, metrics }) =>
      Object.entries(PANELS).flatMap(([name, panel]) => {
        const value = metrics?.[which].values[name as keyof typeof PANELS];
        return value === undefined ? [] : [{ panel, edit, value, method: title(method) }];
      }),
    ),
  );
}
