/** Edits at each layer: where they work, and where they leave the rest alone. */
import { bestLayer } from '../../sweep.ts';
import { light } from '../palette.ts';
import type { Figure, Study } from '../study.ts';
import { WIDTH } from '../theme.ts';

export function sweep({ sweep: scores = [] }: Study): Figure | undefined {
  const [first] = scores;
  if (!first) return undefined;
  const values = scores.flatMap(({ layer, ES, PS, NS, score }) => [
    { layer, metric: 'ES', value: ES },
    ...(PS === undefined ? [] : [{ layer, metric: 'PS', value: PS }]),
    { layer, metric: 'NS', value: NS },
    { layer, metric: 'S', value: score },
  ]);
  const domain = ['ES', 'PS', 'NS', 'S'].filter((metric) => values.some((value) => value.metric === metric));
  const colours: Record<string, string> = {
    ES: light('rome'),
    PS: light('p-rome'),
    NS: light('r-rome'),
    S: light('ink'),
  };
  const color = { domain, range: domain.map((metric) => colours[metric] ?? light('ink')) };
  return {
    name: 'sweep',
    title: 'Which layer to edit',
    caption: `${first.n} single edits at each layer, in percent; S is the harmonic mean of the others. Best: layer ${bestLayer(scores) ?? '–'}.`,
    draw: (size) => ({
      width: WIDTH[size],
      height: 230,
      autosize: { type: 'fit', contains: 'padding' },
      data: { values },
      mark: { type: 'line', strokeWidth: 2.2, point: { filled: true, size: 44 } },
      encoding: {
        x: { field: 'layer', type: 'ordinal', title: 'layer', axis: { labelAngle: 0, grid: false } },
        y: {
          field: 'value',
          type: 'quantitative',
          title: 'percent',
          scale: { domain: [0, 100] },
          axis: { tickCount: 5 },
        },
        color: { field: 'metric', type: 'nominal', scale: color },
      },
    }),
  };
}
