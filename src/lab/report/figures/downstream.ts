/** Downstream tasks before and after a sequence of edits. */
import { taskOf } from '../../downstream-tasks.ts';
import { light } from '../palette.ts';
import type { DownstreamRow, Figure, Study } from '../study.ts';
import { WIDTH, methodScales, title } from '../theme.ts';

export function downstream({ downstream: rows = [] }: Study): Figure | undefined {
  if (rows.length === 0) return undefined;
  const methods = [...new Set(rows.flatMap(({ method }) => method ?? []))];
  const last = (task: string, method: DownstreamRow['method']): DownstreamRow | undefined =>
    rows.filter((row) => nameOf(row) === task && row.method === method).sort((a, b) => b.edit - a.edit)[0];
  const tasks = [...new Set(rows.map(nameOf))];
  const values = tasks.flatMap((task) =>
    [undefined, ...methods].flatMap((method) => {
      const row = last(task, method);
      return row ? [{ task, state: method ? title(method) : 'unedited', f1: row.result.f1 }] : [];
    }),
  );
  const constants = tasks.map((task) => ({
    task,
    f1: rows.find((row) => nameOf(row) === task)?.result.constant_f1 ?? 0,
  }));
  const { color, shape } = methodScales(methods);
  const states = { domain: ['unedited', ...color.domain], range: [light('ink'), ...color.range] };
  const shapes = { domain: states.domain, range: ['diamond', ...shape.range] };
  const y = { field: 'task', type: 'nominal', title: null, sort: tasks } as const;
  const x = { field: 'f1', type: 'quantitative', scale: { domain: [0, 100] as number[] } } as const;
  return {
    name: 'downstream',
    title: 'Other tasks, before and after the sequence',
    caption:
      'Weighted F1, percent, of few-shot tasks that no edit is about. The grey bar is what always giving one answer scores: a point on it says nothing.' +
      (silent(rows)
        ? ' This model answers none of them before the first edit, so there is nothing to lose.'
        : ''),
    draw: (size) => ({
      width: WIDTH[size],
      height: 50 * tasks.length + 60,
      autosize: { type: 'fit', contains: 'padding' },
      layer: [
        {
          data: { values: constants },
          mark: { type: 'tick', thickness: 5, size: 26, color: light('axis') },
          encoding: { x, y },
        },
        {
          data: { values },
          mark: { type: 'point', filled: true, size: 80, opacity: 0.9 },
          encoding: {
            x: { ...x, title: 'weighted F1, %', axis: { tickCount: 5 } },
            y: { ...y, axis: { domain: false, ticks: false, grid: true } },
            yOffset: { field: 'state', sort: states.domain },
            color: { field: 'state', type: 'nominal', scale: states },
            shape: { field: 'state', type: 'nominal', scale: shapes },
          },
        },
      ],
    }),
  };
}

const nameOf = ({ result }: DownstreamRow): string => taskOf(result.task, 'glue').title;

/** The unedited model gives hardly an answer that is one. */
function silent(rows: readonly DownstreamRow[]): boolean {
  const unedited = rows.filter(({ method }) => method === undefined);
  return unedited.length > 0 && unedited.every(({ result }) => result.invalid > 90);
}
