/** Squares over layers: the frame of both tracing figures. */
import type { TopLevelSpec } from 'vega-lite';
import { RAMP } from '../palette.ts';
import { textWidth } from '../text-width.ts';
import type { Size } from '../theme.ts';
import { WIDTH } from '../theme.ts';

export interface HeatCell {
  readonly panel: string;
  /** What the rows are, in order. */
  readonly row: string;
  readonly layer: number;
  readonly effect: number;
}

export function heatMap(size: Size, values: readonly HeatCell[], title: string): TopLevelSpec {
  const panels = [...new Set(values.map(({ panel }) => panel))];
  const rows = [...new Set(values.map(({ row }) => row))];
  const layers = Math.max(...values.map(({ layer }) => layer)) + 1;
  // Room for the words of the rows, and what lies between them and the squares.
  const labels = Math.max(...rows.map((row) => textWidth({ fontSize: 12 }, row))) + 16;
  const columns = size === 'wide' ? panels.length : 1;
  const width = Math.floor((WIDTH[size] - labels - 20 * (columns - 1)) / columns);
  const most = Math.max(...values.map(({ effect }) => effect), 0);
  return {
    data: { values: [...values] },
    columns,
    spacing: { row: 14, column: 20 },
    facet: { field: 'panel', type: 'nominal', sort: panels, header: { labelPadding: 6 } },
    spec: {
      width,
      height: { step: size === 'wide' ? 20 : 19 },
      mark: { type: 'rect', strokeWidth: 0 },
      encoding: {
        x: {
          field: 'layer',
          type: 'ordinal',
          title: 'layer',
          axis: {
            labelAngle: 0,
            domain: false,
            ticks: false,
            values: Array.from({ length: layers }, (_, i) => i).filter(
              (i) => i % Math.ceil(layers / 12) === 0,
            ),
          },
        },
        y: {
          field: 'row',
          type: 'ordinal',
          title: null,
          sort: rows,
          axis: { domain: false, ticks: false },
        },
        color: {
          field: 'effect',
          type: 'quantitative',
          scale: { type: 'quantize', domain: [0, most], range: RAMP.map(([plain]) => plain) },
          legend: {
            title,
            offset: 12,
            titleOrient: 'top',
            format: '.2f',
            gradientLength: Math.min(260, WIDTH[size] - 60),
          } as object,
        },
      },
    },
  } as TopLevelSpec;
}
