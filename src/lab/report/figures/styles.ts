/** |Delta| by how a fact is put: the paper's analysis of why one data set has disabling edits and another none. */
import { light } from '../palette.ts';
import { logAxis } from '../log-axis.ts';
import type { Figure, Study, StyleSize } from '../study.ts';
import { WIDTH, methodScales, title } from '../theme.ts';

const panelOf = (style: string, target: StyleSize['target']): string =>
  `${style}, ${target === 'new' ? 'false object' : 'true object'}`;

export function styles({ styles: rows = [] }: Study): Figure | undefined {
  if (rows.length === 0) return undefined;
  const values = rows
    .filter(({ normalised_update: x }) => x > 0 && Number.isFinite(x))
    .map(({ style, target, method, normalised_update }) => ({
      style: panelOf(style, target),
      method: title(method),
      update: normalised_update,
    }));
  const order = [...new Set(rows.map(({ style, target }) => panelOf(style, target)))].sort();
  const methods = [...new Set(rows.map(({ method }) => method))];
  const { color } = methodScales(methods);
  const updates = values.map(({ update }) => update);
  const { domain } = logAxis(updates, 1);
  const x = {
    field: 'update',
    type: 'quantitative',
    title: '|Δ|, one edit',
    scale: { type: 'log', domain, nice: false },
  } as const;
  const row = { field: 'method', type: 'nominal', title: null, sort: color.domain } as const;
  return {
    name: 'styles',
    title: 'The same facts, put differently',
    caption:
      '|Δ| of single edits by the style of the prompt and by the object written: a false one, or the one that the model holds already. Each tick is one edit, the dark bar the median.',
    draw: (size) => ({
      data: { values },
      spacing: 12,
      facet: {
        row: {
          field: 'style',
          type: 'nominal',
          sort: order,
          header: {
            labelAngle: 0,
            labelOrient: 'top',
            labelAlign: 'left',
            labelPadding: 4,
            labelAnchor: 'start',
          },
        },
      },
      spec: {
        width: WIDTH[size] - 72,
        height: { step: 22 },
        layer: [
          {
            mark: { type: 'tick', thickness: 1.6, size: 15, opacity: 0.6 },
            encoding: {
              x: { ...x, axis: logAxis(updates, size === 'wide' ? 9 : 5).axis },
              y: { ...row, axis: { domain: false, ticks: false } },
              color: { field: 'method', type: 'nominal', scale: color, legend: null },
            },
          },
          {
            transform: [
              { aggregate: [{ op: 'median', field: 'update', as: 'update' }], groupby: ['method', 'style'] },
            ],
            mark: { type: 'tick', thickness: 3, size: 20, color: light('ink') },
            encoding: { x, y: row },
          },
        ],
      },
    }),
  };
}
