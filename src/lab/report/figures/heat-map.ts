/** Squares over layers, panel by panel, each with a scale of its own: the frame of both tracing figures. */
import type { TopLevelSpec } from 'vega-lite';
import { RAMP } from '../palette.ts';
import { textWidth } from '../text-width.ts';
import type { Size } from '../theme.ts';
import { WIDTH } from '../theme.ts';

export interface HeatPanel {
  readonly title: string;
  readonly cells: readonly HeatCell[];
}

export interface HeatCell {
  /** What the rows are, in order. */
  readonly row: string;
  readonly layer: number;
  readonly effect: number;
}

const GAP = 22;
/** Layers named on the axis at most. */
const MOST_LAYERS = 12;

export function heatMap(size: Size, panels: readonly HeatPanel[], legend: string): TopLevelSpec {
  const rows = [...new Set(panels.flatMap(({ cells }) => cells.map(({ row }) => row)))];
  // Room for the words of the rows, and what lies between them and the squares.
  const labels = Math.max(...rows.map((row) => textWidth({ fontSize: 12 }, row))) + 16;
  const columns = size === 'wide' ? panels.length : 1;
  const width = Math.floor((WIDTH[size] - labels - GAP * (columns - 1)) / columns) - 4;
  return {
    columns,
    spacing: GAP,
    resolve: { scale: { color: 'independent' } },
    // Panels side by side share the words of the first.
    concat: panels.map((one, i) => panel(one, legend, rows, width, size, columns === 1 || i === 0)),
  };
}

function panel(
  { title, cells }: HeatPanel,
  legend: string,
  rows: readonly string[],
  width: number,
  size: Size,
  words: boolean,
) {
  const layers = [...new Set(cells.map(({ layer }) => layer))];
  const shown = layers.filter((layer) => layer % Math.ceil(layers.length / MOST_LAYERS) === 0);
  const most = Math.max(...cells.map(({ effect }) => effect), 1e-6);
  const frame = { domain: false, ticks: false } as const;
  return {
    title,
    width,
    height: rows.length * (size === 'wide' ? 20 : 19),
    data: { values: [...cells] },
    mark: { type: 'rect' as const, strokeWidth: 0 },
    encoding: {
      x: {
        field: 'layer',
        type: 'ordinal' as const,
        title: 'layer',
        axis: { ...frame, labelAngle: 0, values: shown },
      },
      y: {
        field: 'row',
        type: 'ordinal' as const,
        title: null,
        scale: { domain: [...rows] },
        axis: words ? frame : null,
      },
      color: {
        field: 'effect',
        type: 'quantitative' as const,
        scale: { type: 'quantize' as const, domain: [0, most], range: RAMP.map(([plain]) => plain) },
        legend: {
          title: legend,
          orient: 'bottom' as const,
          titleOrient: 'top' as const,
          format: '.2~r',
          labelSeparation: 10,
          offset: 10,
        },
      },
    },
  };
}
