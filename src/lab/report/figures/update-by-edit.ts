/** |Delta| of each edit of a sequence, method by method. */
import { THRESHOLDS } from '../../../edit/guard.ts';
import { light } from '../palette.ts';
import { logAxis } from '../log-axis.ts';
import { rings } from './rings.ts';
import type { Figure, Study } from '../study.ts';
import { EDIT_TICKS, WIDTH, methodScales, title } from '../theme.ts';

export function updateByEdit({ sequences }: Study): Figure | undefined {
  const [first] = sequences ?? [];
  if (!sequences || !first) return undefined;
  const values = sequences
    .flatMap(({ method, lines }) =>
      lines.map(({ edit, normalised_update, verdict }) => ({
        edit,
        update: normalised_update,
        method: title(method),
        verdict,
      })),
    )
    .filter(({ update }) => update > 0 && Number.isFinite(update));
  if (values.length === 0) return undefined;
  const { weight_norm, elements } = first.head;
  const alarm = (THRESHOLDS.disablingUpdate * weight_norm) / elements;
  const { color, shape } = methodScales(sequences.map(({ method }) => method));
  const { domain, axis } = logAxis(
    values.map(({ update }) => update),
    9,
  );
  const seen = alarm < (domain[1] ?? 0);
  const y = {
    field: 'update',
    type: 'quantitative',
    title: '|Δ|, one edit',
    scale: { type: 'log', domain, nice: false },
  } as const;
  const x = { field: 'edit', type: 'quantitative' } as const;
  return {
    name: 'update-by-edit',
    title: 'How far each edit moves the weights',
    caption:
      `|Δ| is the Frobenius norm of one update over the number of elements of W, as published. ` +
      `Ringed edits were judged suspect or disabling.` +
      (seen
        ? ` Above the dashed line an update is ${THRESHOLDS.disablingUpdate} times as large as the unedited W.`
        : ''),
    draw: (size) => ({
      width: WIDTH[size],
      height: size === 'wide' ? 300 : 260,
      autosize: { type: 'fit', contains: 'padding' },
      data: { values },
      layer: [
        {
          mark: { type: 'point', filled: true, opacity: 0.9 },
          encoding: {
            x: {
              field: 'edit',
              type: 'quantitative',
              title: 'edit',
              scale: { nice: false, padding: 8 },
              axis: { grid: false, tickCount: EDIT_TICKS[size] },
            },
            y: { ...y, axis },
            color: { field: 'method', type: 'nominal', scale: color },
            shape: { field: 'method', type: 'nominal', scale: shape },
            size: { value: size === 'wide' ? 46 : 34 },
          },
        },
        ...(seen ? [threshold(alarm, y)] : []),
        ...rings(values, x, y),
      ],
    }),
  };
}

/** Where the guard's second measure refuses. */
function threshold<Y extends object>(alarm: number, y: Y) {
  const mark = { type: 'rule' as const, strokeDash: [5, 4], strokeWidth: 1.2 };
  return {
    data: { values: [{ alarm }] },
    mark: { ...mark, stroke: light('alarm') },
    encoding: { y: { ...y, field: 'alarm' } },
  };
}
