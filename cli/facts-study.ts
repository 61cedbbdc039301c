/** `evaluate --batch` and `sequence --batch`: facts in batches on the same weights, judged when written and all at the end. */
import { join, resolve } from 'node:path';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { editFileName } from '../src/io/edit-files.ts';
import { writeBatchFiles } from '../src/io/facts-files.ts';
import { STUDY_HEAD, stepsOf, studyBatches, summariseJudged } from '../src/lab/batch-study.ts';
import type { Judged, Measured, Study, StudyHead } from '../src/lab/batch-study.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import type { SequenceRun, SequenceStep } from '../src/lab/report/study.ts';
import { BATCH_LINE } from '../src/lab/run-journal.ts';
import { plural, short } from '../src/numerals.ts';
import { left, right, someRows } from '../src/table.ts';
import type { Report, Run } from './commands.ts';
import { massMethodOf, type FactsArguments } from './edit-options.ts';
import { underBar, withFactsRun, writtenFacts, type FactsRun } from './facts-run.ts';
import { whole, type Given } from './flags.ts';
import { HEALTH_FLAGS, factsFrom, healthFrom, readHealth, writeReport } from './lab.ts';
import type { DATA, HealthArguments } from './lab.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';

const MEASURES = ['ES', 'PS', 'NS', 'S', 'EM', 'PM', 'NM'] as const;
const FREE_TOKENS = 20;
const WORST = 5;

/** Beside those of an edit and of facts. */
export const STUDY_FLAGS = {
  ...HEALTH_FLAGS,
  'free-tokens': whole(
    `with --batch: tokens that the model writes by itself after every prompt; 0 for none [default: ${FREE_TOKENS}]`,
    0,
  ),
} as const;

export interface StudyArguments
  extends FactsArguments, HealthArguments, Given<typeof STUDY_FLAGS & { readonly data: typeof DATA }> {
  readonly out?: string | undefined;
  readonly resume: boolean;
}

/** Whether the flags ask for batches: by their size, or by a method that writes many facts at once. */
export function asksForBatches(args: Pick<FactsArguments, 'method' | 'batch'>): boolean {
  return args.batch !== undefined || massMethodOf(args) !== undefined;
}

/** @param keepEdits every batch is written to `edits` of the folder, as `sequence` does, with a report */
export async function studyFacts(args: StudyArguments, run: Run, keepEdits: boolean): Promise<Report> {
  const data = await factsFrom(args);
  const texts = await readHealth(args);
  const folder = args.out === undefined ? undefined : resolve(args.out);
  const format = { head: STUDY_HEAD, line: BATCH_LINE, nonFinite: 'object' } as const;
  const asked = ({ before }: StudyHead) => before.cases;
  return withFactsRun<StudyHead>(args, { ...data, folder, format, asked }, run, async (open) => {
    const { model, timed, facts, journal, layers } = open;
    const { freeTokens = FREE_TOKENS } = args;
    const health = healthFrom(args, texts, open);
    const { thresholds } = health.options;
    const own = { ...health.settings, thresholds, free_tokens: freeTokens };
    const study = await underBar(open, args, own, (options, begun) => {
      const all = { ...options, ...health.options, freeTokens };
      return timed('study', () => studyBatches(model, facts, layers, all, journal, begun));
    });
    if (folder !== undefined && keepEdits)
      await timed('write', () =>
        writeBatchFiles(writtenFacts(open, study.lines), (batch) =>
          join(folder, 'edits', editFileName(batch)),
        ),
      );
    return reported(open, study, keepEdits);
  });
}

async function reported(open: FactsRun<StudyHead>, study: Study, hasReport: boolean): Promise<Report> {
  const { terminal, writing, layers, seed, facts, size, name, folder } = open;
  const { head, kept, written, end } = study;
  const lines = stepsOf(study);
  const ofKept = (cases: readonly Judged[]): Judged[] => cases.filter((_, i) => kept[i]);
  const summaries = {
    before: summariseJudged(head.before.cases, seed),
    written: summariseJudged(ofKept(written), seed),
    end: summariseJudged(ofKept(end.cases), seed),
  };
  const command = `palimpsest sequence --method ${writing.method} --count ${facts.length} --batch ${size}`;
  const report = { sequence: { method: writing.method, head, lines }, command, layers };
  const survival = await finishRun(open, folder, ofKept(end.cases), hasReport ? report : undefined);
  const forgotten = written.filter((one, i) => kept[i] && one.holds && !end.cases[i]?.holds).length;
  const missing = missingMeasures(facts);
  terminal.heading(
    `${METHOD_TABLE[writing.method].title}: ${plural(facts.length, 'fact')} of ${name}, ${writing.kind === 'mass' ? `${size} at a time` : 'one after another'}, on the same weights`,
  );
  const { before, written: first, end: last } = summaries;
  showJudged(terminal, [
    { when: 'before', ...before },
    { when: 'when written', ...first },
    { when: 'at the end', ...last },
  ]);
  for (const reason of missing) terminal.say(reason, '', 'dim');
  showSequence(terminal, { head, lines });
  const sigma = Math.max(...end.layers.map(({ spectral_norm }) => spectral_norm));
  terminal.say(
    `${survival.holding} of ${plural(survival.kept, 'kept fact')} hold at the end; ${forgotten} that held when they were written no longer do. ` +
      `The largest singular value of W - W0 is ${short(sigma)}.`,
  );
  if (folder !== undefined)
    terminal.say(
      `Wrote ${folder}: run.jsonl has a line a batch, end.json what holds${hasReport ? ', report.html the figures' : ''}.`,
    );
  const of = ({ cases: _, ...measured }: Measured): object => measured;
  return open.report({
    method: writing.method,
    layers,
    n: facts.length,
    batches: study.lines.map(({ case_ids }) => case_ids.length),
    ...summaries,
    kept: survival.kept,
    refused: facts.filter((_, i) => !kept[i]).map(({ caseId }) => caseId),
    holding: survival.holding,
    forgotten,
    lines,
    model_before: of(head.before),
    model_end: of(end),
    missing,
    cases: facts.map(({ caseId }, i) => ({
      case_id: caseId,
      kept: kept[i],
      before: head.before.cases[i],
      written: written[i],
      end: end.cases[i],
    })),
    folder,
  });
}

type Summarised = ReturnType<typeof summariseJudged> & { readonly when: string };

function showJudged(terminal: Terminal, rows: readonly Summarised[]): void {
  const known = MEASURES.filter((name) => rows.some((row) => row[name] !== undefined));
  const free = right('free', (row: Summarised) => row.free?.toFixed(1));
  terminal.table(rows, [
    left('', ({ when }) => when),
    ...known.map((name) => right(name, (row: Summarised) => row[name]?.toFixed(1))),
    ...(rows.some((row) => row.free !== undefined) ? [free] : []),
  ]);
  terminal.say(
    'ES, PS, NS and S by comparison, EM, PM and NM by arg-max, all under teacher forcing; free: of texts that the model writes by itself, those that name the new object.',
    '',
    'dim',
  );
}

interface SequenceReport {
  readonly sequence: SequenceRun;
  readonly command: string;
  readonly layers: readonly number[];
}

/** Whether the edits that were kept still hold after the last one; of a run in a folder `end.json`, too, and a report. */
export async function finishRun<T extends { readonly holds: boolean }>(
  session: Session,
  folder: string | undefined,
  edits: readonly T[],
  report?: SequenceReport,
) {
  const survival = { kept: edits.length, holding: edits.filter(({ holds }) => holds).length, edits };
  if (folder === undefined) return survival;
  await writeAtomic(join(folder, 'end.json'), `${JSON.stringify(survival, null, 1)}\n`);
  if (!report) return survival;
  const { sequence, command, layers } = report;
  await writeReport(folder, session, {
    title: `${METHOD_TABLE[sequence.method].title}: ${sequence.lines.at(-1)?.edit ?? 0} edits on ${session.model.id}`,
    about: [[layers.length === 1 ? 'edit layer' : 'edit layers', layers.join(', ')]],
    command,
    sequences: [sequence],
  });
  return survival;
}

/** The measurements of a run, and its largest edits or batches. */
export function showSequence(terminal: Terminal, { head, lines }: Omit<SequenceRun, 'method'>): void {
  const measured = lines.filter(({ metrics }) => metrics !== undefined);
  const { before } = head;
  // Without true objects nothing can be compared: then by arg-max.
  const took = measured.some(({ metrics }) => metrics?.recent.values.ES !== undefined) ? 'ES' : 'EM';
  if (before.perplexity !== undefined) {
    terminal.heading('The model while it is edited');
    const unedited = { ...before, edit: 0, relative_total: 0, metrics: undefined };
    terminal.table(
      [unedited, ...someRows(measured)],
      [
        left('edits', ({ edit }) => edit),
        right('|W - W0|/|W0|', ({ relative_total }) => short(relative_total)),
        right('perplexity', ({ perplexity: x }) => x && short(x)),
        right('entropy', ({ entropy }) => entropy?.toFixed(3)),
        right(`${took} recent`, ({ metrics }) => metrics?.recent.values[took]?.toFixed(1)),
        right(`${took} earlier`, ({ metrics }) => metrics?.earlier.values[took]?.toFixed(1)),
        right('NS recent', ({ metrics }) => metrics?.recent.values.NS?.toFixed(1)),
      ],
    );
  }
  const isSingle = lines.every((line) => 'prompt' in line);
  terminal.heading(`The largest ${isSingle ? 'edits' : 'batches'}`);
  const largest = lines.toSorted((a, b) => b.update_norm - a.update_norm).slice(0, WORST);
  const facts = left('fact', (line: SequenceStep) =>
    'prompt' in line ? factLine(line, line.target_new) : '',
  );
  terminal.table(largest, [
    left(isSingle ? 'edit' : 'facts', (line) =>
      'facts' in line && line.facts > 1 ? `${line.edit - line.facts + 1} to ${line.edit}` : line.edit,
    ),
    right('|update|', ({ update_norm }) => short(update_norm)),
    right('cosine', ({ cosine }) => cosine && short(cosine)),
    left('verdict', ({ verdict }) => verdict),
    left('kept', ({ kept }) => (kept ? 'yes' : 'no')),
    ...(isSingle ? [facts] : []),
  ]);
}
