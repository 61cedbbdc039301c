/** Figures of single edits, each of the unedited model. */
import type { Method } from '../../edit/method.ts';
import { byMethod, logarithmic, positive, quantity, rings } from './axes.ts';
import type { Figure, Study, StyleSize } from './study.ts';
import { WIDTH, light, title } from './theme.ts';

/** The paper's scatter: a disabling edit is a large |Δ| with a low entropy. */
export function entropyByUpdate({ evaluation }: Study): Figure | undefined {
  const results = (evaluation?.cases ?? []).flatMap(({ case_id, methods }) =>
    (Object.keys(methods) as Method[]).flatMap((method) => {
      const { normalised_update: update = NaN, entropy, verdict } = methods[method] ?? {};
      return entropy === undefined ? [] : [{ case: case_id, method, update, entropy, verdict }];
    }),
  );
  const values = positive(results, 'update').map((row) => ({ ...row, method: title(row.method) }));
  if (values.length === 0) return undefined;
  const x = quantity('update', '|Δ|, one edit', logarithmic('power'));
  const y = quantity('entropy', 'entropy of generated words', { scale: { zero: false, padding: 8 } });
  const marks = byMethod(results.map(({ method }) => method));
  return {
    name: 'entropy-by-update',
    title: 'Single edits: size against what the model still says',
    caption:
      'Each point is one edit of the unedited model: |Δ| of the update, and the normalised entropy of the texts generated afterwards. Edits that disable a model lie at the lower right. Ringed: judged suspect or disabling.',
    draw: () => ({
      height: 310,
      data: { values },
      layer: [{ mark: 'point', encoding: { x, y, ...marks } }, ...rings(values, { x, y })],
    }),
  };
}

/** |Δ| by how a fact is put: why one data set has disabling edits and another none. */
export function styles({ styles: rows = [] }: Study): Figure | undefined {
  const panelOf = ({ style, target }: StyleSize): string =>
    `${style}, ${target === 'new' ? 'false object' : 'true object'}`;
  const values = positive(
    rows.map((row) => ({
      style: panelOf(row),
      method: title(row.method),
      update: row.normalised_update,
    })),
    'update',
  );
  if (values.length === 0) return undefined;
  const { color } = byMethod(rows.map(({ method }) => method));
  const { scale, axis } = logarithmic('power');
  const x = quantity('update', '|Δ|, one edit', { scale, axis: { ...axis, grid: true } });
  const y = { field: 'method', type: 'nominal', title: null, sort: color.scale.domain } as const;
  return {
    name: 'styles',
    title: 'The same facts, put differently',
    caption:
      '|Δ| of single edits by the style of the prompt and by the object written: a false one, or the one that the model holds already. Each tick is one edit, the dark bar the median.',
    draw: (size) => ({
      data: { values },
      spacing: 12,
      facet: { row: { field: 'style', type: 'nominal', header: { labelAngle: 0, labelOrient: 'top' } } },
      spec: {
        width: WIDTH[size] - 72,
        height: { step: 22 },
        layer: [
          {
            mark: { type: 'tick', thickness: 1.6, size: 15, opacity: 0.6 },
            encoding: { x, y, color: { ...color, legend: null } },
          },
          {
            mark: { type: 'tick', thickness: 3, size: 20, color: light('ink') },
            encoding: { x: { ...x, aggregate: 'median' }, y },
          },
        ],
      },
    }),
  };
}

/** Thin lines drawn at most. */
const MOST_CURVES = 60;

/** How the loss falls while v* is sought. */
export function lossCurves({ evaluation }: Study): Figure | undefined {
  const curves = (evaluation?.cases ?? []).filter(({ loss }) => loss.length > 1);
  if (curves.length === 0) return undefined;
  // A search that stopped early keeps its last loss, so that the median is over all edits at every step.
  const steps = Math.max(...curves.map(({ loss }) => loss.length));
  const values = curves.flatMap(({ case_id, loss }, i) =>
    Array.from({ length: steps }, (_, step) => ({
      i,
      case: case_id,
      step,
      loss: loss[step] ?? loss.at(-1),
    })),
  );
  const x = quantity('step', 'step', { scale: { nice: false }, axis: { tickMinStep: 1 } });
  const y = quantity('loss', 'loss', logarithmic('number'));
  const shown = Math.min(MOST_CURVES, curves.length);
  return {
    name: 'loss-curves',
    title: 'Finding the value to write',
    caption: `The loss at each step of the search for v*, which all methods share: ${shown} edits, and the median over ${curves.length} in bold.`,
    draw: () => ({
      height: 250,
      data: { values: positive(values, 'loss') },
      layer: [
        {
          transform: [{ filter: `datum.i < ${shown}` }],
          mark: { type: 'line', stroke: light('r-rome'), strokeWidth: 0.8, opacity: 0.35 },
          encoding: { x, y, detail: { field: 'case' } },
        },
        {
          mark: { type: 'line', stroke: light('ink'), strokeWidth: 2.6 },
          encoding: { x, y: { ...y, aggregate: 'median' } },
        },
      ],
    }),
  };
}
