/** The accumulated change of a sequence, and what it does to the text the model writes and reads. */
import type { Figure, Study } from '../study.ts';
import { EDIT_TICKS, WIDTH, methodScales, title } from '../theme.ts';

export function totalByEdit({ sequences }: Study): Figure | undefined {
  if (!sequences?.some(({ lines }) => lines.length > 0)) return undefined;
  const values = sequences.flatMap(({ method, lines }) =>
    [{ edit: 0, relative_total: 0 }, ...lines].map(({ edit, relative_total }) => ({
      edit,
      total: relative_total,
      method: title(method),
    })),
  );
  return {
    name: 'total-by-edit',
    title: 'How far the weights have moved in all',
    caption:
      'The norm of W − W₀ after each edit, in norms of the unedited W₀. A step upwards is one edit that alone moved more than all before it.',
    draw: (size) => ({
      width: WIDTH[size],
      height: 240,
      autosize: { type: 'fit', contains: 'padding' },
      data: { values },
      mark: { type: 'line', interpolate: 'step-after', strokeWidth: 2.2 },
      encoding: {
        x: {
          field: 'edit',
          type: 'quantitative',
          title: 'edit',
          scale: { nice: false },
          axis: { grid: false, tickCount: EDIT_TICKS[size] },
        },
        y: { field: 'total', type: 'quantitative', title: '‖W − W₀‖ / ‖W₀‖', axis: { tickCount: 5 } },
        color: {
          field: 'method',
          type: 'nominal',
          scale: methodScales(sequences.map(({ method }) => method)).color,
        },
      },
    }),
  };
}
