/**
 * Figures of many small panels of lines: what a sequence of edits does to a model, edit by edit, and what holds of many
 * facts, and costs it, as there are more of them.
 */
import type { HealthNumbers } from '../health.ts';
import type { SequelLine } from '../sequel.ts';
import { EDIT, byMethod, logarithmic, panels, positive, quantity } from './axes.ts';
import type { Figure, SequenceRun, Study } from './study.ts';
import { title, type AnyMethod } from './theme.ts';

/** The points of a panel: each line with what it has measured. */
type Points<Line> = (
  of: LinePanel<Line>['of'],
) => { readonly value: number | undefined; readonly method: AnyMethod }[];

/** A quantity that is drawn in a panel of its own. */
interface LinePanel<Line> {
  readonly title: string;
  /** undefined, or not finite, where the line has not measured it. */
  readonly of: (line: Line) => number | undefined;
  readonly y: { readonly scale: Readonly<Record<string, unknown>>; readonly axis?: object };
}

/** Panels of lines, of those quantities that were measured at all. */
function lineFigure<Line>(
  points: Points<Line>,
  list: readonly LinePanel<Line>[],
  { x, height, point, more = {} }: { x: object; height: number; point: number; more?: object },
  words: Omit<Figure, 'draw'>,
): Figure | undefined {
  const drawn = list
    .map(({ of, ...panel }) => {
      const found = points(of).filter(({ value }) => Number.isFinite(value));
      return { ...panel, found: panel.y.scale.type === 'log' ? positive(found, 'value') : found };
    })
    .filter(({ found }) => found.length > 0);
  if (drawn.length === 0) return undefined;
  const methods = drawn.flatMap(({ found }) => found.map(({ method }) => method));
  const encoding = { ...byMethod(methods, { offset: 14 }), ...more };
  const layout = { columns: 2, axes: (columns: number) => 48 * columns };
  return {
    ...words,
    draw: (size) =>
      panels(size, drawn, layout, ({ title: heading, found, y }, width) => ({
        ...{ title: heading, width, height },
        data: { values: found.map((one) => ({ ...one, method: title(one.method) })) },
        mark: { type: 'line', point: { size: point } },
        encoding: { x, y: quantity('value', null, y), ...encoding },
      })),
  };
}

const METRICS = { ES: 'Efficacy, ES', PS: 'Paraphrase, PS', NS: 'Neighbourhood, NS', S: 'Score, S' } as const;
const PERCENT = { scale: { domain: [0, 100] } };

function metricPanels<Line>(
  of: (line: Line, name: keyof typeof METRICS) => number | undefined,
): LinePanel<Line>[] {
  return (Object.keys(METRICS) as (keyof typeof METRICS)[]).map((name) => ({
    title: METRICS[name],
    of: (line) => of(line, name),
    y: PERCENT,
  }));
}

const BY_EDIT = { x: EDIT, height: 150, point: 34 };

/** What the lines of sequences have measured, the unedited model as edit 0. */
const measuredBy =
  (sequences: readonly SequenceRun[]): Points<HealthNumbers> =>
  (of) =>
    sequences.flatMap(({ method, head, lines }) =>
      [{ edit: 0, ...head.before }, ...lines].map((line) => ({ edit: line.edit, value: of(line), method })),
    );

export function languageByEdit({ sequences = [] }: Study): Figure | undefined {
  const list: LinePanel<HealthNumbers>[] = [
    { title: 'Perplexity of ordinary text', of: ({ perplexity }) => perplexity, y: logarithmic('number') },
    { title: 'Entropy of generated words', of: ({ entropy }) => entropy, y: { scale: { zero: false } } },
  ];
  return lineFigure(measuredBy(sequences), list, BY_EDIT, {
    name: 'language-by-edit',
    title: 'What happens to its language',
    caption:
      'Perplexity: how surprised the model is by text that none of the edits is about, the same at every measurement. Entropy of the words it writes, over its greatest possible value: ' +
      'a text that repeats itself sinks towards 0. Edit 0 is the unedited model.',
  });
}

const metricFigure =
  (which: 'recent' | 'earlier', words: Omit<Figure, 'draw'>) =>
  ({ sequences = [] }: Study): Figure | undefined => {
    const list = metricPanels(({ metrics }: HealthNumbers, name) => metrics?.[which].values[name]);
    return lineFigure(measuredBy(sequences), list, BY_EDIT, words);
  };

export const metricsByEdit = metricFigure('recent', {
  name: 'metrics-by-edit',
  title: 'Do new edits still work?',
  caption:
    'Measured on the edits made since the last measurement: ES and PS, the share of prompts and of paraphrases after which the new object is likelier than the old; ' +
    'NS, of neighbouring subjects that keep theirs; S, the harmonic mean of the three. Percent.',
});

/** Metrics of all earlier edits: what later ones have overwritten. */
export const forgetting = metricFigure('earlier', {
  name: 'forgetting',
  title: 'Do old edits last?',
  caption:
    'The same metrics on all edits made before the latest ones. Where a line falls while new edits still work, later edits overwrite earlier ones.',
});

/** Solid where a method did all it does at once, or one by one; broken where batches came one after another. */
const WAY = {
  field: 'way',
  type: 'nominal',
  scale: {
    domain: ['at once, or one by one', 'batch after batch'],
    range: [
      [1, 0],
      [5, 4],
    ],
  },
  legend: { orient: 'bottom', offset: 10, symbolType: 'stroke' },
} as const;

const BY_FACTS = {
  x: quantity('facts', 'facts', logarithmic('number')),
  height: 160,
  point: 40,
  more: { strokeDash: WAY },
};

/** The lines of the sequel but that of the unedited model. */
const writtenBy =
  (sequel: readonly SequelLine[]): Points<SequelLine> =>
  (of) =>
    sequel.flatMap((line) => {
      const { method, facts } = line;
      const way = WAY.scale.domain[line.way === 'batches' ? 1 : 0];
      return method ? [{ facts, value: of(line), method, way }] : [];
    });

export function factsMetrics({ sequel = [] }: Study): Figure | undefined {
  const plain = writtenBy(sequel.filter(({ anchored }) => !anchored));
  const list = metricPanels((line: SequelLine, name) => line[name]);
  return lineFigure(plain, list, BY_FACTS, {
    name: 'facts-metrics',
    title: 'How many facts hold',
    caption:
      'All facts asked again after the last was written. ES and PS, the share of prompts and of paraphrases after which the new object is likelier than the old; ' +
      'NS, of neighbouring subjects that keep theirs; S, the harmonic mean of the three. Percent, without norm anchoring.',
  });
}

export function factsCost({ sequel = [] }: Study): Figure | undefined {
  const before = sequel.find(({ method }) => method === undefined)?.perplexity;
  const plain = writtenBy(sequel.filter(({ anchored }) => !anchored));
  const list: LinePanel<SequelLine>[] = [
    { title: 'Perplexity of ordinary text', of: ({ perplexity }) => perplexity, y: logarithmic('number') },
    { title: 'How far the weights moved', of: ({ moved }) => moved, y: logarithmic('number') },
  ];
  return lineFigure(plain, list, BY_FACTS, {
    name: 'facts-cost',
    title: 'What they cost the model',
    caption:
      'Perplexity of text that none of the facts is about' +
      (before === undefined ? '' : ` (${before.toFixed(1)} before the first)`) +
      ', and how far the weights have moved: the norm of W − W₀ in norms of W₀. Without norm anchoring.',
  });
}

export function factsAnchored({ sequel = [] }: Study): Figure | undefined {
  if (!sequel.some(({ anchored }) => anchored)) return undefined;
  type Panel = LinePanel<SequelLine>;
  const both = (name: string, of: Panel['of'], y: Panel['y']): Panel[] =>
    [false, true].map((anchored) => ({
      title: `${name}, ${anchored ? 'anchored' : 'as found'}`,
      of: (line) => (line.anchored === anchored ? of(line) : undefined),
      y,
    }));
  const list = [
    ...both('Score, S', ({ S }) => S, PERCENT),
    ...both('Perplexity', ({ perplexity }) => perplexity, logarithmic('number')),
  ];
  return lineFigure(writtenBy(sequel), list, BY_FACTS, {
    name: 'facts-anchored',
    title: 'Does norm anchoring help?',
    caption:
      'The same with values as the search finds them, left, and brought to the mean length of values on the unedited model before they are written, right.',
  });
}
