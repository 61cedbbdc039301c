/** What a sequence of edits does to the model's language: perplexity of held-out text, entropy of its own. */
import type { Figure, Study } from '../study.ts';
import { title } from '../theme.ts';
import type { PanelPoint } from './small-multiples.ts';
import { smallMultiples } from './small-multiples.ts';

const PANELS = {
  perplexity: 'Perplexity of held-out text, log₁₀',
  entropy: 'Entropy of generated words',
} as const;

export function languageByEdit({ sequences = [] }: Study): Figure | undefined {
  const values = sequences.flatMap(({ method, head, lines }): PanelPoint[] =>
    [{ edit: 0, ...head.before }, ...lines].flatMap(({ edit, perplexity, entropy }) => [
      ...(perplexity
        ? [{ panel: PANELS.perplexity, edit, value: Math.log10(perplexity), method: title(method) }]
        : []),
      ...(entropy === undefined
        ? []
        : [{ panel: PANELS.entropy, edit, value: entropy, method: title(method) }]),
    ]),
  );
  if (values.length === 0) return undefined;
  const panels = Object.values(PANELS).filter((panel) => values.some((point) => point.panel === panel));
  return {
    name: 'language-by-edit',
    title: 'What happens to its language',
    caption:
      'Perplexity: how surprised the model is by text it was trained on, in powers of ten. Entropy of the words it writes, over its greatest possible value: a text that repeats itself sinks towards 0. Edit 0 is the unedited model.',
    draw: (size) =>
      smallMultiples(size, values, { panels, methods: sequences.map(({ method }) => method), height: 180 }),
  };
}
