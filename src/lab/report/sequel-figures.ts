/** Figures of many facts: what holds, and what it costs the model, as there are more of them. */
import type { SequelLine } from '../sequel.ts';
import { linePanels, logarithmic, quantity } from './axes.ts';
import type { LinePanel } from './axes.ts';
import type { Figure, Study } from './study.ts';
import { title } from './theme.ts';

/** The facts, from left to right. */
const FACTS = quantity('facts', 'facts', logarithmic('number'));

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

interface SequelPanel extends LinePanel<SequelLine> {
  /** Which lines: with norm anchoring, or without. */
  readonly anchored: boolean;
}

function sequelFigure(
  lines: readonly SequelLine[],
  words: Omit<Figure, 'draw'>,
  list: readonly SequelPanel[],
): Figure | undefined {
  const points = ({ of, anchored }: SequelPanel) =>
    lines.flatMap((line) => {
      const value = of(line);
      if (line.method === undefined || line.anchored !== anchored || !Number.isFinite(value)) return [];
      const way = WAY.scale.domain[line.way === 'batches' ? 1 : 0];
      return [{ facts: line.facts, value, method: title(line.method), way }];
    });
  return linePanels(words, list, points, { x: FACTS, height: 160, point: 40, more: { strokeDash: WAY } });
}

const PERCENT = { scale: { domain: [0, 100] } };

/** Do they hold? */
export function factsMetrics({ sequel = [] }: Study): Figure | undefined {
  return sequelFigure(
    sequel,
    {
      name: 'facts-metrics',
      title: 'How many facts hold',
      caption:
        'All facts asked again after the last was written. ES and PS, the share of prompts and of paraphrases after which the new object is likelier than the old; ' +
        'NS, of neighbouring subjects that keep theirs; S, the harmonic mean of the three. Percent, without norm anchoring.',
    },
    [
      { title: 'Efficacy, ES', of: ({ ES }) => ES, y: PERCENT, anchored: false },
      { title: 'Paraphrase, PS', of: ({ PS }) => PS, y: PERCENT, anchored: false },
      { title: 'Neighbourhood, NS', of: ({ NS }) => NS, y: PERCENT, anchored: false },
      { title: 'Score, S', of: ({ S }) => S, y: PERCENT, anchored: false },
    ],
  );
}

/** And the model? */
export function factsCost({ sequel = [] }: Study): Figure | undefined {
  const before = sequel.find(({ method }) => method === undefined)?.perplexity;
  return sequelFigure(
    sequel,
    {
      name: 'facts-cost',
      title: 'What they cost the model',
      caption:
        'Perplexity of text that none of the facts is about' +
        (before === undefined ? '' : ` (${before.toFixed(1)} before the first)`) +
        ', and how far the weights have moved: the norm of W − W₀ in norms of W₀. Without norm anchoring.',
    },
    [
      {
        title: 'Perplexity of ordinary text',
        of: ({ perplexity }) => perplexity,
        y: logarithmic('number'),
        anchored: false,
      },
      {
        title: 'How far the weights moved',
        of: ({ moved }) => moved,
        y: logarithmic('number'),
        anchored: false,
      },
    ],
  );
}

/** With norm anchoring beside without. */
export function factsAnchored({ sequel = [] }: Study): Figure | undefined {
  if (!sequel.some(({ anchored }) => anchored)) return undefined;
  const both = (name: string, of: SequelPanel['of'], y: SequelPanel['y']): SequelPanel[] =>
    [false, true].map((anchored) => ({
      title: `${name}, ${anchored ? 'anchored' : 'as found'}`,
      of,
      y,
      anchored,
    }));
  return sequelFigure(
    sequel,
    {
      name: 'facts-anchored',
      title: 'Does norm anchoring help?',
      caption:
        'The same with values as the search finds them, left, and brought to the mean length of values on the unedited model before they are written, right.',
    },
    [
      ...both('Score, S', ({ S }) => S, PERCENT),
      ...both('Perplexity', ({ perplexity }) => perplexity, logarithmic('number')),
    ],
  );
}
