/** The parts that figures are put together from: axes, the marks of methods, and panels. */
import type { TopLevelSpec } from 'vega-lite';
import { RAISED } from './wording.ts';
import { SHAPES, WIDTH, light, title, type AnyMethod, type Size } from './theme.ts';

export type Panel = Extract<TopLevelSpec, { concat: unknown }>['concat'][number];

/** A channel of numbers. @param name what stands at its axis; null for none */
export function quantity<Rest extends object>(field: string, name: string | null, rest: Rest) {
  return { field, type: 'quantitative', title: name, ...rest } as const;
}

/** The edits of a sequence, from left to right. */
export const EDIT = quantity('edit', 'edit', {
  scale: { nice: false, padding: 8, domainMin: 0 },
  axis: { tickCount: 10, tickMinStep: 1 },
} as const);

const part = (i: 0 | 1): string => `split(format(datum.value, '~e'), 'e')[${i}]`;
const raised = RAISED.reduce(
  (text, digit, i) => `replace(${text}, /${i}/g, '${digit}')`,
  `replace(replace(${part(1)}, '-', '⁻'), '+', '')`,
);
const POWER = `(${part(0)} === '1' ? '' : ${part(0)} + '×') + '10' + ${raised}`;

/** Labels of a logarithmic axis, and the digits that have one: 2×10⁻⁵ on a large figure, 300 on a small panel. */
const LABELS = {
  power: { text: POWER, without: '46789' },
  number: { text: "format(datum.value, ',')", without: '2456789' },
} as const;

export function logarithmic(label: keyof typeof LABELS) {
  const { text, without } = LABELS[label];
  const minor = `test(/^[${without}]e/, format(datum.value, '~e'))`;
  return {
    scale: { type: 'log', nice: false, padding: 10 },
    axis: {
      labelExpr: `${minor} ? '' : ${text}`,
      gridOpacity: { condition: { test: minor, value: 0 }, value: 1 },
    },
  } as const;
}

/** Rows whose number can be drawn on a logarithmic axis. */
export function positive<Row extends object>(rows: readonly Row[], field: keyof Row): Row[] {
  return rows.filter((row) => Number(row[field]) > 0 && Number.isFinite(row[field]));
}

/**
 * Colour and shape of the methods that are shown, by the titles in `field`.
 *
 * @param unedited the model before any edit is among them
 * @param offset   of the legend, CSS pixels: less where no title of an axis lies under it
 */
export function byMethod(
  methods: readonly AnyMethod[],
  { field = 'method', unedited = false, offset = 34 } = {},
) {
  const shown = (Object.keys(SHAPES) as AnyMethod[]).filter((method) => methods.includes(method));
  const domain = [...(unedited ? ['unedited'] : []), ...shown.map(title)];
  const channel = (first: string, rest: readonly string[]) =>
    ({
      field,
      type: 'nominal',
      scale: { domain, range: unedited ? [first, ...rest] : [...rest] },
      legend: { offset },
    }) as const;
  return {
    color: channel(light('ink'), shown.map(light)),
    shape: channel(
      'diamond',
      shown.map((method) => SHAPES[method]),
    ),
  };
}

/** Rings around edits that were not judged ok; none where all were, since an empty layer has no axis to be drawn on. */
export function rings<Row extends { readonly verdict: string | undefined }, Channels extends object>(
  values: readonly Row[],
  encoding: Channels,
) {
  const marked = values.filter(({ verdict }) => verdict !== 'ok');
  const mark = { type: 'point', shape: 'circle', filled: false, stroke: light('alarm') } as const;
  return marked.length === 0
    ? []
    : [{ data: { values: marked }, mark: { ...mark, strokeWidth: 1.6, size: 190, opacity: 1 }, encoding }];
}

const GAP = 22;

/**
 * Panels beside each other on a desk, below each other on a phone.
 *
 * @param columns beside each other at most
 * @param axes    CSS pixels beside the plots of a row of so many panels
 * @param draw    one panel, `width` wide; `first` in its row
 */
export function panels<T>(
  size: Size,
  list: readonly T[],
  { columns: most, axes }: { readonly columns: number; readonly axes: (columns: number) => number },
  draw: (one: T, width: number, first: boolean) => Panel,
): Extract<TopLevelSpec, { concat: unknown }> {
  const columns = size === 'wide' ? Math.min(most, list.length) : 1;
  const width = Math.floor((WIDTH[size] - axes(columns) - GAP * (columns - 1)) / columns);
  return { columns, spacing: GAP, concat: list.map((one, i) => draw(one, width, i % columns === 0)) };
}
