/** The report's tables: methods on single edits, sequences, and the edits that did most harm. */
import type { Method } from '../../edit/method.ts';
import { median } from '../../statistics.ts';
import { summariseBefore, summariseMethod } from '../evaluate-summary.ts';
import type { MethodSummary } from '../evaluate-summary.ts';
import type { SequenceLine } from '../sequence.ts';
import { htmlTable } from './html-table.ts';
import type { SequenceRun, Study } from './study.ts';
import { title } from './theme.ts';
import { escape, fixed, large, power, shorten } from './words.ts';

const METRICS = ['ES', 'PS', 'NS', 'S', 'EM', 'PM', 'NM', 'GE'] as const;
/** Edits listed as the worst. */
const WORST = 10;

export function methodsTable({ evaluation }: Study): string {
  const { cases = [], seed = 0 } = evaluation ?? {};
  const methods = [...new Set(cases.flatMap(({ methods }) => Object.keys(methods) as Method[]))];
  if (methods.length === 0) return '';
  const cell = (summary: MethodSummary, name: (typeof METRICS)[number]): string => {
    const interval = summary.interval[name];
    const apart = interval && fixed(interval[0]) !== fixed(interval[1]);
    const around = apart ? `<small>${fixed(interval[0])}–${fixed(interval[1])}</small>` : '';
    return `${fixed(summary[name])}${around}`;
  };
  const before = summariseBefore(cases, seed);
  const rows = methods.map((method) => {
    const summary = summariseMethod(cases, method, seed);
    const updates = cases.flatMap(({ methods }) => methods[method]?.normalised_update ?? []);
    return [
      mark(method),
      ...METRICS.map((name) => cell(summary, name)),
      power(median(updates)),
      power(Math.max(...updates)),
      `${summary.disabling ?? 0}`,
    ];
  });
  const columns = [...METRICS, 'median |Δ|', 'worst |Δ|', 'disabling'].map((name) => ({
    title: name,
    number: true,
  }));
  return htmlTable(
    [{ title: 'method' }, ...columns],
    before.n === 0 ? rows : [...rows, ['unedited', ...METRICS.map((name) => cell(before, name)), '', '', '']],
    `${cases.length} single edits, in percent with 95 % bootstrap intervals. ES, PS, NS, S: by comparison of probabilities. EM, PM, NM: by arg-max. The two families cannot be compared with each other. GE: fluency.`,
  );
}

export function sequencesTable({ sequences = [] }: Study): string {
  if (sequences.length === 0) return '';
  const numbers = [
    'edits',
    'disabling',
    'suspect',
    'median |Δ|',
    'worst |Δ|',
    '‖W − W₀‖/‖W₀‖',
    'perplexity',
    'S, last edits',
    'S, earlier edits',
  ];
  return htmlTable(
    [{ title: 'method' }, ...numbers.map((name) => ({ title: name, number: true }))],
    sequences.map(sequenceRow),
    'One edit after another on the same weights. Perplexity of held-out text: unedited, and after the last measurement. S: the score, in percent.',
  );
}

function sequenceRow({ method, head, lines }: SequenceRun): string[] {
  const updates = lines.map(({ normalised_update }) => normalised_update);
  const worst = lines.reduce<SequenceLine | undefined>(
    (most, line) => (most && most.normalised_update >= line.normalised_update ? most : line),
    undefined,
  );
  const lastly = <T>(of: (line: SequenceLine) => T | undefined): T | undefined =>
    lines
      .map(of)
      .filter((x) => x !== undefined)
      .at(-1);
  const number = (verdict: string): string => `${lines.filter((line) => line.verdict === verdict).length}`;
  return [
    mark(method),
    `${lines.length}`,
    number('disabling'),
    number('suspect'),
    power(median(updates)),
    worst ? `${power(worst.normalised_update)}<small>edit ${worst.edit}</small>` : '',
    fixed(lines.at(-1)?.relative_total, 2),
    `${large(head.before.perplexity)} → ${large(lastly(({ perplexity }) => perplexity))}`,
    fixed(lastly(({ metrics }) => metrics?.recent.values.S)),
    fixed(lastly(({ metrics }) => metrics?.earlier.values.S)),
  ];
}

interface WorstEdit {
  readonly method: Method;
  readonly where: string;
  readonly prompt: string;
  readonly subject: string;
  readonly target: string;
  readonly update: number;
  readonly cosine: number;
  readonly verdict: string;
  readonly text?: string | undefined;
}

/** The single edits, with what the model writes after each. */
export function worstSingleTable(study: Study): string {
  return worstTable(
    singleEdits(study),
    (n) =>
      `The ${n} single edits with the largest |Δ|, and the beginning of a text that the edited model writes.`,
  );
}

export function worstSequenceTable(study: Study): string {
  return worstTable(sequenceEdits(study), (n) => `The ${n} edits of the sequences with the largest |Δ|.`);
}

function worstTable(edits: readonly WorstEdit[], caption: (n: number) => string): string {
  const worst = [...edits].sort((a, b) => b.update - a.update).slice(0, WORST);
  if (worst.length === 0) return '';
  const texts = worst.some(({ text }) => text !== undefined);
  return htmlTable(
    [
      { title: 'edit' },
      { title: 'method' },
      { title: '|Δ|', number: true },
      { title: 'cosine', number: true },
      { title: 'verdict' },
      ...(texts ? [{ title: 'text', prose: true }] : []),
    ],
    worst.map(({ method, where, prompt, subject, target, update, cosine, verdict, text = '' }) => [
      `${sentence(prompt, subject)} <b>${escape(target)}</b><small>${escape(where)}</small>`,
      mark(method),
      power(update),
      fixed(cosine, 3),
      `<span class="verdict ${verdict}">${verdict}</span>`,
      ...(texts ? [text === '' ? '' : `<q>${escape(shorten(text, 220))}</q>`] : []),
    ]),
    `${caption(worst.length)} The subject is underlined. Cosine: of the angle between key and u; near 0 an update must be huge.`,
  );
}

function singleEdits({ evaluation }: Study): WorstEdit[] {
  return (evaluation?.cases ?? []).flatMap(({ case_id, prompt, subject, target_new, methods }) =>
    (Object.keys(methods) as Method[]).flatMap((method) => {
      const result = methods[method];
      if (!result) return [];
      const { normalised_update: update, cosine, verdict, texts } = result;
      const where = `case ${case_id}`;
      return [
        { method, where, prompt, subject, target: target_new, update, cosine, verdict, text: texts?.[0] },
      ];
    }),
  );
}

function sequenceEdits({ sequences = [] }: Study): WorstEdit[] {
  return sequences.flatMap(({ lines }) =>
    lines.map(
      ({
        edit,
        case_id,
        method,
        prompt,
        subject,
        target_new,
        normalised_update: update,
        cosine,
        verdict,
      }) => {
        const where = `edit ${edit}, case ${case_id}`;
        return { method, where, prompt, subject, target: target_new, update, cosine, verdict };
      },
    ),
  );
}

function sentence(prompt: string, subject: string): string {
  const [before = '', after = ''] = prompt.split('{}');
  return `${escape(before)}<u>${escape(subject)}</u>${escape(after)}`;
}

function mark(method: Method): string {
  return `<span class="method ${method}">${title(method)}</span>`;
}
