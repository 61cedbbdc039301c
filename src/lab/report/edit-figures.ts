/** Figures of edits: the size of each in a sequence and alone, what is left of the model, and how v* was found. */
import { THRESHOLDS } from '../../edit/guard.ts';
import { taskOf } from '../downstream-tasks.ts';
import { resultsOf } from '../summary.ts';
import { EDIT, byMethod, logarithmic, positive, quantity, rings } from './axes.ts';
import type { DownstreamRow, Figure, Study, StyleSize } from './study.ts';
import { WIDTH, light, title, type AnyMethod } from './theme.ts';
import { fixed } from './wording.ts';

const methodsOf = (runs: readonly { readonly method?: AnyMethod | undefined }[]): AnyMethod[] =>
  runs.flatMap(({ method }) => method ?? []);

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

/** Where more answers than this name no class, in percent, a model does not do the task. */
const MOST_INVALID = 90;

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

/** The paper's scatter: a disabling edit is a large |Δ| with a low entropy. */
export function entropyByUpdate({ evaluation }: Study): Figure | undefined {
  const results = resultsOf(evaluation?.cases ?? []).flatMap(({ case: { case_id }, method, result }) => {
    const { normalised_update: update, entropy, verdict } = result;
    return entropy === undefined ? [] : [{ case: case_id, method, update, entropy, verdict }];
  });
  const values = positive(results, 'update').map((row) => ({ ...row, method: title(row.method) }));
  if (values.length === 0) return undefined;
  const x = quantity('update', '|Δ|, one edit', logarithmic('power'));
  const y = quantity('entropy', 'entropy of generated words', { scale: { zero: false, padding: 8 } });
  const marks = byMethod(results.map(({ method }) => method));
  return {
    name: 'entropy-by-update',
    title: 'Single edits: size against what the model still says',
    caption:
      'Each point is one edit of the unedited model: |Δ| of the update, and the normalised entropy of the texts generated afterwards. Edits that disable a model lie at the lower right. Ringed: judged suspect or disabling.',
    draw: () => ({
      height: 310,
      data: { values },
      layer: [{ mark: 'point', encoding: { x, y, ...marks } }, ...rings(values, { x, y })],
    }),
  };
}

/** |Δ| by how a fact is put: why one data set has disabling edits and another none. */
export function styles({ styles: rows = [] }: Study): Figure | undefined {
  const panelOf = ({ style, target }: StyleSize): string =>
    `${style}, ${target === 'new' ? 'false object' : 'true object'}`;
  const values = positive(
    rows.map((row) => ({
      style: panelOf(row),
      method: title(row.method),
      update: row.normalised_update,
    })),
    'update',
  );
  if (values.length === 0) return undefined;
  const { color } = byMethod(rows.map(({ method }) => method));
  const { scale, axis } = logarithmic('power');
  const x = quantity('update', '|Δ|, one edit', { scale, axis: { ...axis, grid: true } });
  const y = { field: 'method', type: 'nominal', title: null, sort: color.scale.domain } as const;
  return {
    name: 'styles',
    title: 'The same facts, put differently',
    caption:
      '|Δ| of single edits by the style of the prompt and by the object written: a false one, or the one that the model holds already. Each tick is one edit, the dark bar the median.',
    draw: (size) => ({
      data: { values },
      spacing: 12,
      facet: { row: { field: 'style', type: 'nominal', header: { labelAngle: 0, labelOrient: 'top' } } },
      spec: {
        width: WIDTH[size] - 72,
        height: { step: 22 },
        layer: [
          {
            mark: { type: 'tick', thickness: 1.6, size: 15, opacity: 0.6 },
            encoding: { x, y, color: { ...color, legend: null } },
          },
          {
            mark: { type: 'tick', thickness: 3, size: 20, color: light('ink') },
            encoding: { x: { ...x, aggregate: 'median' }, y },
          },
        ],
      },
    }),
  };
}

/** Thin lines drawn at most. */
const MOST_CURVES = 60;

export function lossCurves({ evaluation }: Study): Figure | undefined {
  const curves = (evaluation?.cases ?? []).filter(({ loss }) => loss.length > 1);
  if (curves.length === 0) return undefined;
  // A search that stopped early keeps its last loss, so that the median is over all edits at every step.
  const steps = Math.max(...curves.map(({ loss }) => loss.length));
  const values = curves.flatMap(({ case_id, loss }, i) =>
    Array.from({ length: steps }, (_, step) => ({
      i,
      case: case_id,
      step,
      loss: loss[step] ?? loss.at(-1),
    })),
  );
  const x = quantity('step', 'step', { scale: { nice: false }, axis: { tickMinStep: 1 } });
  const y = quantity('loss', 'loss', logarithmic('number'));
  const shown = Math.min(MOST_CURVES, curves.length);
  return {
    name: 'loss-curves',
    title: 'Finding the value to write',
    caption: `The loss at each step of the search for v*, which all methods share: ${shown} edits, and the median over ${curves.length} in bold.`,
    draw: () => ({
      height: 250,
      data: { values: positive(values, 'loss') },
      layer: [
        {
          transform: [{ filter: `datum.i < ${shown}` }],
          mark: { type: 'line', stroke: light('r-rome'), strokeWidth: 0.8, opacity: 0.35 },
          encoding: { x, y, detail: { field: 'case' } },
        },
        {
          mark: { type: 'line', stroke: light('ink'), strokeWidth: 2.6 },
          encoding: { x, y: { ...y, aggregate: 'median' } },
        },
      ],
    }),
  };
}
