/** How the loss falls while v* is sought, edit by edit. */
import { light } from '../palette.ts';
import { logAxis } from '../log-axis.ts';
import type { Figure, Study } from '../study.ts';
import { WIDTH } from '../theme.ts';
import { median } from '../../../statistics.ts';

/** Thin lines drawn at most. */
const MOST = 60;

export function lossCurves({ evaluation }: Study): Figure | undefined {
  const curves = (evaluation?.cases ?? []).filter(({ loss }) => loss.length > 1);
  if (curves.length === 0) return undefined;
  const values = curves
    .slice(0, MOST)
    .flatMap(({ case_id, loss }) => loss.map((value, step) => ({ case: case_id, step, loss: value })));
  const longest = Math.max(...curves.map(({ loss }) => loss.length));
  // An optimisation that stopped early keeps its last loss, so that the middle is over all edits at every step.
  const middle = Array.from({ length: longest }, (_, step) => ({
    step,
    loss: median(curves.map(({ loss }) => loss[step] ?? loss.at(-1) ?? NaN)),
  }));
  const x = {
    field: 'step',
    type: 'quantitative',
    title: 'step',
    scale: { nice: false },
    axis: { grid: false, tickMinStep: 1 },
  } as const;
  const { domain, axis } = logAxis(
    values.map(({ loss }) => loss),
    8,
  );
  const y = {
    field: 'loss',
    type: 'quantitative',
    title: 'loss',
    scale: { type: 'log', domain, nice: false },
    axis: { values: axis.values, format: '~g' },
  } as const;
  return {
    name: 'loss-curves',
    title: 'Finding the value to write',
    caption: `The loss at each step of the search for v*, which all methods share: ${Math.min(MOST, curves.length)} edits, and the median over ${curves.length} in bold.`,
    draw: (size) => ({
      width: WIDTH[size],
      height: 250,
      autosize: { type: 'fit', contains: 'padding' },
      layer: [
        {
          data: { values },
          mark: { type: 'line', stroke: light('r-rome'), strokeWidth: 0.8, opacity: 0.35 },
          encoding: { x, y, detail: { field: 'case' } },
        },
        {
          data: { values: middle },
          mark: { type: 'line', stroke: light('ink'), strokeWidth: 2.6 },
          encoding: { x, y },
        },
      ],
    }),
  };
}
