/** The paper's scatter: a disabling edit is a large |Delta| with a low entropy. */
import type { Method } from '../../../edit/method.ts';
import { logAxis } from '../log-axis.ts';
import { rings } from './rings.ts';
import type { Figure, Study } from '../study.ts';
import { WIDTH, methodScales, title } from '../theme.ts';

export function entropyByUpdate({ evaluation }: Study): Figure | undefined {
  const results = (evaluation?.cases ?? []).flatMap(({ case_id, methods }) =>
    (Object.keys(methods) as Method[]).flatMap((method) => {
      const { normalised_update: update, entropy, verdict } = methods[method] ?? {};
      if (!(update && Number.isFinite(update)) || entropy === undefined) return [];
      return [{ case: case_id, method, update, entropy, verdict }];
    }),
  );
  if (results.length === 0) return undefined;
  const values = results.map((result) => ({ ...result, method: title(result.method) }));
  const { color, shape } = methodScales(results.map(({ method }) => method));
  const updates = values.map(({ update }) => update);
  const { domain } = logAxis(updates, 1);
  const x = {
    field: 'update',
    type: 'quantitative',
    title: '|Δ|, one edit',
    scale: { type: 'log', domain, nice: false },
  } as const;
  const y = {
    field: 'entropy',
    type: 'quantitative',
    title: 'entropy of generated words',
    scale: { zero: false, padding: 8 },
  } as const;
  return {
    name: 'entropy-by-update',
    title: 'Single edits: size against what the model still says',
    caption:
      'Each point is one edit of the unedited model: |Δ| of the update, and the normalised entropy of the texts generated afterwards. Edits that disable a model lie at the lower right. Ringed: judged suspect or disabling.',
    draw: (size) => ({
      width: WIDTH[size],
      height: size === 'wide' ? 330 : 280,
      autosize: { type: 'fit', contains: 'padding' },
      data: { values },
      layer: [
        {
          mark: { type: 'point', filled: true, opacity: 0.72, size: 48 },
          encoding: {
            x: { ...x, axis: { ...logAxis(updates, size === 'wide' ? 9 : 5).axis, grid: false } },
            y: { ...y, axis: { tickCount: 5 } },
            color: { field: 'method', type: 'nominal', scale: color },
            shape: { field: 'method', type: 'nominal', scale: shape },
          },
        },
        ...rings(values, x, y),
      ],
    }),
  };
}
