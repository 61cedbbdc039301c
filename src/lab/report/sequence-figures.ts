/** Figures of one edit after another: the size of each, what they do to the model, and what is left of them. */
import { THRESHOLDS } from '../../edit/guard.ts';
import { taskOf } from '../downstream-tasks.ts';
import type { HealthNumbers } from '../health.ts';
import { EDIT, byMethod, linePanels, logarithmic, positive, quantity, rings } from './axes.ts';
import type { LinePanel } from './axes.ts';
import { fixed } from './wording.ts';
import type { DownstreamRow, Figure, SequenceRun, Study } from './study.ts';
import { light, title } from './theme.ts';
import type { AnyMethod } from './theme.ts';

const methodsOf = (runs: readonly { readonly method?: AnyMethod | undefined }[]): AnyMethod[] =>
  runs.flatMap(({ method }) => method ?? []);

/** |Δ| of each edit. */
export function updateByEdit({ sequences = [] }: Study): Figure | undefined {
  const lines = sequences.flatMap(({ method, lines }) =>
    lines.map(({ edit, normalised_update: update, verdict }) => ({
      edit,
      update,
      method: title(method),
      verdict,
    })),
  );
  const values = positive(lines, 'update');
  const head = sequences[0]?.head;
  if (!head || values.length === 0) return undefined;
  // Where the guard's second measure calls an update disabling.
  const limit = (THRESHOLDS.disablingUpdate * head.weight_norm) / head.elements;
  const reached = values.some(({ update }) => update > limit);
  const y = quantity('update', '|Δ|, one edit', logarithmic('power'));
  const mark = { type: 'rule', stroke: light('alarm') } as const;
  return {
    name: 'update-by-edit',
    title: 'How far each edit moves the weights',
    caption:
      '|Δ| is the Frobenius norm of one update over the number of elements of W, as published. Ringed edits were judged suspect or disabling.' +
      (reached
        ? ` Above the dashed line an update is ${THRESHOLDS.disablingUpdate} times as large as the unedited W.`
        : ''),
    draw: () => ({
      height: 280,
      data: { values },
      layer: [
        { mark: 'point', encoding: { x: EDIT, y, ...byMethod(methodsOf(sequences)) } },
        ...(reached ? [{ data: { values: [{ update: limit }] }, mark, encoding: { y } }] : []),
        ...rings(values, { x: EDIT, y }),
      ],
    }),
  };
}

/** The accumulated change. */
export function totalByEdit({ sequences = [] }: Study): Figure | undefined {
  if (!sequences.some(({ lines }) => lines.length > 0)) return undefined;
  const values = sequences.flatMap(({ method, lines }) =>
    [{ edit: 0, relative_total: 0 }, ...lines].map(({ edit, relative_total: total }) => ({
      edit,
      total,
      method: title(method),
    })),
  );
  const y = quantity('total', '‖W − W₀‖ / ‖W₀‖', {});
  return {
    name: 'total-by-edit',
    title: 'How far the weights have moved in all',
    caption:
      'The norm of W − W₀ after each edit, in norms of the unedited W₀. A step upwards is one edit that alone moved more than all before it.',
    draw: () => ({
      height: 240,
      data: { values },
      mark: { type: 'line', interpolate: 'step-after' },
      encoding: { x: EDIT, y, color: byMethod(methodsOf(sequences)).color },
    }),
  };
}

/** What lines of the journal have measured over the edits, the unedited model as edit 0. */
function lineFigure(
  sequences: readonly SequenceRun[],
  words: Omit<Figure, 'draw'>,
  list: readonly LinePanel<HealthNumbers>[],
): Figure | undefined {
  const points = ({ of }: LinePanel<HealthNumbers>) =>
    sequences.flatMap(({ method, head, lines }) =>
      [{ edit: 0, ...head.before }, ...lines].flatMap((line) => {
        const value = of(line);
        return Number.isFinite(value) ? [{ edit: line.edit, value, method: title(method) }] : [];
      }),
    );
  return linePanels(words, list, points, { x: EDIT, height: 150, point: 34 });
}

/** What a sequence of edits does to the model's language. */
export function languageByEdit({ sequences = [] }: Study): Figure | undefined {
  return lineFigure(
    sequences,
    {
      name: 'language-by-edit',
      title: 'What happens to its language',
      caption:
        'Perplexity: how surprised the model is by text that none of the edits is about, the same at every measurement. Entropy of the words it writes, over its greatest possible value: ' +
        'a text that repeats itself sinks towards 0. Edit 0 is the unedited model.',
    },
    [
      {
        title: 'Perplexity of ordinary text',
        of: ({ perplexity }) => perplexity,
        y: logarithmic('number'),
      },
      { title: 'Entropy of generated words', of: ({ entropy }) => entropy, y: { scale: { zero: false } } },
    ],
  );
}

const METRICS = { ES: 'Efficacy, ES', PS: 'Paraphrase, PS', NS: 'Neighbourhood, NS', S: 'Score, S' } as const;

const metricPanels = (which: 'recent' | 'earlier'): LinePanel<HealthNumbers>[] =>
  (Object.keys(METRICS) as (keyof typeof METRICS)[]).map((name) => ({
    title: METRICS[name],
    of: ({ metrics }) => metrics?.[which].values[name],
    y: { scale: { domain: [0, 100] } },
  }));

/** Metrics of the latest edits. */
export function metricsByEdit({ sequences = [] }: Study): Figure | undefined {
  const words = {
    name: 'metrics-by-edit',
    title: 'Do new edits still work?',
    caption:
      'Measured on the edits made since the last measurement: ES and PS, the share of prompts and of paraphrases after which the new object is likelier than the old; ' +
      'NS, of neighbouring subjects that keep theirs; S, the harmonic mean of the three. Percent.',
  };
  return lineFigure(sequences, words, metricPanels('recent'));
}

/** Metrics of all earlier edits: what later ones have overwritten. */
export function forgetting({ sequences = [] }: Study): Figure | undefined {
  const words = {
    name: 'forgetting',
    title: 'Do old edits last?',
    caption:
      'The same metrics on all edits made before the latest ones. Where a line falls while new edits still work, later edits overwrite earlier ones.',
  };
  return lineFigure(sequences, words, metricPanels('earlier'));
}

/** Where more answers than this name no class, in percent, a model does not do the task. */
const MOST_INVALID = 90;

/** Downstream tasks before and after. */
export function downstream({ downstream: rows = [] }: Study): Figure | undefined {
  if (rows.length === 0) return undefined;
  const name = 'downstream';
  const heading = 'Other tasks, before and after the sequence';
  const nameOf = ({ result }: DownstreamRow): string => taskOf(result.task, 'glue').title;
  const unedited = rows.filter(({ method }) => method === undefined);
  if (unedited.length > 0 && unedited.every(({ result }) => result.invalid > MOST_INVALID)) {
    const shares = unedited.map((row) => `${nameOf(row)} ${fixed(row.result.invalid, 0)} %`);
    return {
      name,
      title: heading,
      caption: `Not drawn: already before the first edit the model answers none of these few-shot tasks, so no edit could be seen to harm them. Answers that name no class: ${shares.join(', ')}. A larger model is needed here.`,
    };
  }
  const methods = [...new Set(methodsOf(rows))];
  const tasks = [...new Set(rows.map(nameOf))];
  const values = tasks.flatMap((task) =>
    [undefined, ...methods].flatMap((method) => {
      const mine = rows.filter((row) => nameOf(row) === task && row.method === method);
      const last = mine.toSorted((a, b) => b.edit - a.edit)[0];
      return last ? [{ task, state: method ? title(method) : 'unedited', f1: last.result.f1 }] : [];
    }),
  );
  const constants = rows.map((row) => ({ task: nameOf(row), f1: row.result.constant_f1 }));
  const marks = byMethod(methods, { field: 'state', unedited: true, offset: 14 });
  const x = quantity('f1', 'weighted F1, %', {
    scale: { domain: [0, 100] },
    axis: { grid: true, tickCount: 5 },
  });
  const y = { field: 'task', type: 'nominal', title: null, sort: tasks, axis: { grid: true } } as const;
  return {
    name,
    title: heading,
    caption:
      'Weighted F1, percent, of few-shot tasks that no edit is about. The grey bar is what always giving one answer scores: a point on it says nothing.',
    draw: () => ({
      height: 50 * tasks.length + 60,
      layer: [
        {
          data: { values: constants },
          mark: { type: 'tick', thickness: 5, size: 26, color: light('axis') },
          encoding: { x, y },
        },
        {
          data: { values },
          mark: { type: 'point', size: 80 },
          encoding: { x, y, yOffset: { field: 'state', sort: marks.color.scale.domain }, ...marks },
        },
      ],
    }),
  };
}
