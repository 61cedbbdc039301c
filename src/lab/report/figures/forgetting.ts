/** Metrics of all earlier edits of a sequence: what later edits have overwritten. */
import type { Figure, Study } from '../study.ts';
import { metricPoints, panelsOf } from './metrics-by-edit.ts';
import { smallMultiples } from './small-multiples.ts';

export function forgetting({ sequences = [] }: Study): Figure | undefined {
  const values = metricPoints(sequences, 'earlier');
  if (values.length === 0) return undefined;
  return {
    name: 'forgetting',
    title: 'Do old edits last?',
    caption:
      'The same metrics on all edits made before the latest ones. Where a line falls while new edits still work, later edits overwrite earlier ones.',
    draw: (size) => smallMultiples(size, values, panelsOf(sequences)),
  };
}
