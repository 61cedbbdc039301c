/** Edit time against model size and against context length, as a vega-lite specification. */
import type { TopLevelSpec } from 'vega-lite';

export interface SizePoint {
  readonly size: string;
  readonly parameters: number;
  readonly seconds: number;
}

export interface LengthPoint {
  readonly size: string;
  /** Tokens of one context. */
  readonly tokens: number;
  readonly seconds: number;
}

/** Two panels, both axes logarithmic: a straight line of slope 1 is time in proportion. */
export function scalingFigure(
  title: string,
  sizes: readonly SizePoint[],
  lengths: readonly LengthPoint[],
): TopLevelSpec {
  const line = { type: 'line', point: true } as const;
  // Room for the names of the outermost points.
  const log = { scale: { type: 'log', nice: false, padding: 24 }, type: 'quantitative' } as const;
  const seconds = { field: 'seconds', title: 'seconds of an edit', ...log } as const;
  const label = { type: 'text', dy: -10 } as const;
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title,
    background: 'white',
    hconcat: [
      {
        width: 260,
        height: 220,
        data: { values: [...sizes] },
        encoding: {
          x: { field: 'parameters', title: 'parameters', axis: { format: '~s' }, ...log },
          y: seconds,
        },
        layer: [{ mark: line }, { mark: label, encoding: { text: { field: 'size' } } }],
      },
      {
        width: 260,
        height: 220,
        data: { values: [...lengths] },
        encoding: { x: { field: 'tokens', title: 'tokens of a context', ...log }, y: seconds },
        mark: line,
      },
    ],
  };
}
