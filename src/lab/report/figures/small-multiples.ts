/** Lines over the edits of a sequence, one small panel a quantity: the frame that several figures share. */
import type { TopLevelSpec } from 'vega-lite';
import type { Method } from '../../../edit/method.ts';
import type { Size } from '../theme.ts';
import { WIDTH, methodScales } from '../theme.ts';

export interface PanelPoint {
  readonly panel: string;
  readonly edit: number;
  readonly value: number;
  /** Title of the method. */
  readonly method: string;
}

export interface PanelOptions {
  readonly panels: readonly string[];
  readonly methods: readonly Method[];
  /** Same for all panels, e.g. [0, 100]; absent: each has its own. */
  readonly domain?: readonly [number, number];
  readonly height?: number;
}

/** Room that axes and gaps take beside the plots of one row. */
const MARGINS = { axis: 40, gap: 24 };

export function smallMultiples(
  size: Size,
  values: readonly PanelPoint[],
  { panels, methods, domain, height = 150 }: PanelOptions,
): TopLevelSpec {
  const columns = size === 'wide' ? Math.min(2, panels.length) : 1;
  const room = domain ? MARGINS.axis : MARGINS.axis * columns;
  const width = Math.floor((WIDTH[size] - room - MARGINS.gap * (columns - 1)) / columns) - 14;
  const { color, shape } = methodScales(methods);
  return {
    data: { values: [...values] },
    columns,
    spacing: { row: 18, column: MARGINS.gap },
    facet: { field: 'panel', type: 'nominal', sort: [...panels], header: { labelPadding: 6 } },
    spec: {
      width,
      height,
      mark: { type: 'line', strokeWidth: 2, point: { filled: true, size: 34 } },
      encoding: {
        x: {
          field: 'edit',
          type: 'quantitative',
          title: 'edit',
          scale: { nice: false, padding: 6, domainMin: 0 },
          axis: { grid: false, tickCount: 5 },
        },
        y: {
          field: 'value',
          type: 'quantitative',
          title: null,
          axis: { tickCount: 4 },
          ...(domain ? { scale: { domain: [...domain] } } : { scale: { zero: false } }),
        },
        color: { field: 'method', type: 'nominal', scale: color, legend: { offset: 14 } },
        shape: { field: 'method', type: 'nominal', scale: shape, legend: { offset: 14 } },
      },
    },
    resolve: { axis: { x: 'independent' }, scale: domain ? {} : { y: 'independent' } },
  };
}
