/** The report's tables: methods on single edits, sequences, and the edits that did most harm. */
import { sentence } from '../../edit/template.ts';
import { median } from '../../statistics.ts';
import { methodsOf, resultsOf, summariseBefore, summariseMethod, type MethodSummary } from '../summary.ts';
import { left, right, type Column } from '../../table.ts';
import type { SequelLine } from '../sequel.ts';
import type { SequenceLine } from '../sequence.ts';
import { bySize, escape, fixed, keepTogether, large, power, shorten } from './wording.ts';
import type { SequenceRun, SequenceStep, Study } from './study.ts';
import { title, type AnyMethod } from './theme.ts';

/** Edits listed as the worst, and characters shown of what the model writes after each. */
const WORST = 10;
const EXCERPT = 220;

interface Table<Row> {
  readonly caption: string;
  readonly rows: readonly Row[];
  /** Titles and cells are HTML: whoever makes them escapes what came from outside. */
  readonly columns: readonly Column<Row>[];
  /** On a phone each row becomes a block, with the column's name before each value. */
  readonly blocks?: boolean;
}

/** Blank without rows. */
function write<Row>({ caption, rows, columns, blocks = false }: Table<Row>): string {
  if (rows.length === 0) return '';
  const kind = ({ isRight }: Column<Row>): string => (isRight ? ' class="n"' : '');
  const head = columns.map((column) => `<th scope="col"${kind(column)}>${column.title}</th>`);
  const body = rows.map((row, r) => {
    const cells = columns.map((column, c) => {
      const text = String(column.cell(row, r) ?? '');
      if (c === 0) return `<th scope="row">${text}</th>`;
      return `<td${kind(column)} data-name="${column.title.replace(/<[^>]*>/g, '')}">${text}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return [
    `<p class="caption">${keepTogether(escape(caption))}</p>`,
    `<div class="table"><table${blocks ? ' class="blocks"' : ''}><thead><tr>${head.join('')}</tr></thead><tbody>`,
    ...body,
    '</tbody></table></div>',
  ].join('\n');
}

/** Rows of numbers, a column for each method: it fits a phone and puts side by side what is compared. */
function byColumn<T>(
  caption: string,
  columns: readonly (readonly [title: string, T])[],
  rows: Readonly<Record<string, (column: T) => string>>,
): string {
  if (columns.length === 0) return '';
  type Row = [name: string, cell: (column: T) => string];
  return write<Row>({
    caption,
    rows: Object.entries(rows),
    columns: [
      left('', ([name]) => name),
      ...columns.map(([title, column]) => right<Row>(title, ([, cell]) => cell(column))),
    ],
  });
}

const METRICS = {
  ES: 'efficacy',
  PS: 'paraphrase',
  NS: 'neighbourhood',
  S: 'score',
  EM: 'efficacy',
  PM: 'paraphrase',
  NM: 'neighbourhood',
  GE: 'fluency',
} as const;

export function methodsTable({ evaluation }: Study): string {
  const { cases = [], seed = 0 } = evaluation ?? {};
  const methods = methodsOf(cases);
  const before = summariseBefore(cases, seed);
  const columns = methods.map((method) => {
    const updates = cases.flatMap(({ methods }) => methods[method]?.normalised_update ?? []);
    return [mark(method), { summary: summariseMethod(cases, method, seed), updates }] as const;
  });
  const cell =
    (name: keyof typeof METRICS) =>
    ({ summary }: { summary: MethodSummary }): string => {
      const [low, high] = (summary.interval[name] ?? []).map((bound) => fixed(bound));
      return `${fixed(summary[name])}${low === high ? '' : `<small>${low}–${high}</small>`}`;
    };
  return byColumn<{ summary: MethodSummary; updates: readonly number[] }>(
    `${cases.length} single edits, in percent with 95 % bootstrap intervals. ES, PS, NS, S: by comparison of probabilities. EM, PM, NM: by arg-max. The two families cannot be compared with each other.`,
    before.n === 0 ? columns : [...columns, ['unedited', { summary: before, updates: [] }]],
    {
      ...Object.fromEntries(
        (Object.keys(METRICS) as (keyof typeof METRICS)[]).map((name) => [
          `${name}<small>${METRICS[name]}</small>`,
          cell(name),
        ]),
      ),
      'median |Δ|': ({ updates }) => (updates.length === 0 ? '' : power(median(updates))),
      'largest |Δ|': ({ updates }) => (updates.length === 0 ? '' : power(Math.max(...updates))),
      disabling: ({ summary }) => `${summary.disabling ?? ''}`,
    },
  );
}

export function sequencesTable({ sequences = [] }: Study): string {
  const judged = (verdict: string) => (run: SequenceRun) =>
    `${run.lines.filter((line) => line.verdict === verdict).length}`;
  const last = <T>({ lines }: SequenceRun, of: (line: SequenceStep) => T | undefined): T | undefined =>
    lines.flatMap((line) => of(line) ?? []).at(-1);
  return byColumn<SequenceRun>(
    'One edit after another on the same weights. Perplexity, of text that none of the edits is about: unedited, and at the last measurement. S: the score, in percent.',
    sequences.map((run) => [mark(run.method), run]),
    {
      edits: ({ lines }) => `${lines.at(-1)?.edit ?? 0}`,
      disabling: judged('disabling'),
      suspect: judged('suspect'),
      'median |Δ|': ({ lines }) => power(median(lines.map(({ normalised_update }) => normalised_update))),
      'largest |Δ|': ({ lines }) => {
        const [worst] = bySize(lines);
        return worst ? `${power(worst.normalised_update)}<small>edit ${worst.edit}</small>` : '';
      },
      '‖W − W₀‖/‖W₀‖': ({ lines }) => large(lines.at(-1)?.relative_total, 2),
      perplexity: (run) =>
        `${large(run.head.before.perplexity)} → ${large(last(run, ({ perplexity }) => perplexity))}`,
      'S, last edits': (run) => fixed(last(run, ({ metrics }) => metrics?.recent.values.S)),
      'S, earlier edits': (run) => fixed(last(run, ({ metrics }) => metrics?.earlier.values.S)),
    },
  );
}

export function sequelTable({ sequel = [] }: Study): string {
  const most = Math.max(0, ...sequel.map(({ judged }) => judged));
  const asked = sequel.every(({ judged, facts }) => judged === facts)
    ? 'about every fact'
    : `about ${most} facts at most, evenly spread`;
  return write<SequelLine>({
    caption:
      `The model after the last fact, asked ${asked}. ES, PS, NS, S in percent; perplexity of text that none of them is about; seconds a fact, everything that writing takes. ` +
      'Values on the unedited model are the same for MEMIT, EMMET, ENCORE and AlphaEdit: they were searched for once, and their mean time is counted for each. ' +
      'Anchored: values brought to the mean length that they have on the unedited model.',
    rows: sequel,
    columns: [
      left('method', ({ method, way = '', anchored }) =>
        method ? `${mark(method)}<small>${way}${anchored ? ', anchored' : ''}</small>` : 'unedited',
      ),
      right('facts', ({ method, facts }) => (method ? facts.toLocaleString('en') : '0')),
      ...(['ES', 'PS', 'NS', 'S'] as const).map((name) =>
        right<SequelLine>(name, (line) => fixed(line[name])),
      ),
      right('perplexity', ({ perplexity }) => large(perplexity)),
      right('‖W − W₀‖/‖W₀‖', ({ moved }) => large(moved, 2)),
      right('s a fact', ({ seconds }) => fixed(seconds, 2)),
    ],
    blocks: true,
  });
}

type ListedEdit = Pick<
  SequenceLine,
  'method' | 'prompt' | 'subject' | 'target_new' | 'normalised_update' | 'cosine' | 'verdict'
> & {
  readonly where: string;
  readonly text?: string | undefined;
};

export function worstSingleTable({ evaluation }: Study): string {
  const edits = resultsOf(evaluation?.cases ?? []).map(
    ({ case: { case_id, ...fact }, method, result }): ListedEdit => ({
      ...{ ...fact, ...result, method, where: `case ${case_id}` },
      text: result.texts?.[0],
    }),
  );
  return worstTable(
    edits,
    (n) =>
      `The ${n} single edits with the largest |Δ|, and the beginning of a text that the edited model writes.`,
  );
}

export function worstSequenceTable({ sequences = [] }: Study): string {
  const edits = sequences.flatMap(({ lines }) =>
    lines.flatMap((line) =>
      'prompt' in line ? [{ ...line, where: `edit ${line.edit}, case ${line.case_id}` }] : [],
    ),
  );
  return worstTable(edits, (n) => `The ${n} edits of the sequences with the largest |Δ|.`);
}

function worstTable(edits: readonly ListedEdit[], caption: (n: number) => string): string {
  const worst = bySize(edits).slice(0, WORST);
  return write<ListedEdit>({
    caption: `${caption(worst.length)} The subject is underlined. Cosine: of the angle between key and u; near 0 an update must be huge.`,
    rows: worst,
    columns: [
      left(
        'edit',
        ({ where, target_new, text = '', ...fact }) =>
          `${marked(fact)} <b>${escape(target_new)}</b><small>${escape(where)}</small>` +
          (text === '' ? '' : `<q>${escape(shorten(text, EXCERPT))}</q>`),
      ),
      left('method', ({ method }) => mark(method)),
      right('|Δ|', ({ normalised_update }) => power(normalised_update)),
      right('cosine', ({ cosine }) => fixed(cosine, 3)),
      left('verdict', ({ verdict }) => `<span class="verdict ${escape(verdict)}">${escape(verdict)}</span>`),
    ],
    blocks: true,
  });
}

function marked({ prompt, subject }: Pick<ListedEdit, 'prompt' | 'subject'>): string {
  return sentence({ prompt: escape(prompt), subject: `<u>${escape(subject)}</u>` });
}

function mark(method: AnyMethod): string {
  return `<span class="method ${escape(method)}">${title(method)}</span>`;
}
