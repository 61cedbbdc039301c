/** `evaluate --batch` and `sequence --batch`: facts in batches on the same weights, judged when written and all at the end. */
import { join, resolve } from 'node:path';
import type { Fact } from '../src/data/fact.ts';
import { settleFacts } from '../src/data/conflicts.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { editFileName } from '../src/io/edit-files.ts';
import { writeBatchFiles } from '../src/io/facts-files.ts';
import { hashOf, memoryRun, openRun } from '../src/io/run.ts';
import { STUDY_HEAD, stepsOf, studyBatches, summariseJudged } from '../src/lab/batch-study.ts';
import type { Judged, Measured, Study, StudyHead } from '../src/lab/batch-study.ts';
import { cutFacts } from '../src/lab/fact-batches.ts';
import { BATCH_LINE } from '../src/lab/run-journal.ts';
import type { BatchLine } from '../src/lab/run-journal.ts';
import type { HealthNumbers } from '../src/lab/health.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import { makeReport } from '../src/lab/report/page.ts';
import type { SequenceRun } from '../src/lab/report/study.ts';
import type { Report, Run } from './commands.ts';
import { factsOf, factsProgress, writtenFacts } from './edit-facts.ts';
import { readData } from '../src/io/file.ts';
import { FROM_0, number } from './flags.ts';
import {
  downstreamFrom,
  examplesFrom,
  factsFrom,
  followed,
  runMode,
  tellBatch,
  thresholdsFrom,
} from './lab.ts';
import type { DownstreamArguments, LabArguments } from './lab.ts';
import { massMethodOf } from './edit-options.ts';
import { anchoredWriting, withFactsEditing } from './mass-options.ts';
import type { FactsArguments, FactsEditing } from './mass-options.ts';
import { reportTimings } from './session.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';
import { plural, short } from '../src/numerals.ts';
import { left, right, someRows } from '../src/table.ts';

const MEASURES = ['ES', 'PS', 'NS', 'S', 'EM', 'PM', 'NM'] as const;
const FREE_TOKENS = 20;
/** Edits listed as the largest. */
const WORST = 5;
/** Of a sequence, in edits: `--every`; and of its texts `--text-tokens`. */
export const EVERY = 10;
export const TEXT_TOKENS = 50;

export interface StudyArguments
  extends Omit<LabArguments, 'method' | 'covariance'>, FactsArguments, DownstreamArguments {
  readonly out?: string | undefined;
  readonly resume: boolean;
  readonly every?: number | undefined;
  readonly heldOut?: string | undefined;
  readonly freeTokens?: number | undefined;
}

/** Beside those of an edit and of facts. */
export const STUDY_FLAGS = {
  'free-tokens': number(
    `with --batch: tokens that the model writes by itself after every prompt; 0 for none [default: ${FREE_TOKENS}]`,
    FROM_0,
  ),
} as const;

/** Whether the flags ask for batches: by their size, or by a method that writes many facts at once. */
export function asksForBatches(args: Pick<FactsArguments, 'method' | 'batch'>): boolean {
  return args.batch !== undefined || massMethodOf(args) !== undefined;
}

/** @param keepEdits every batch is written to `edits` of the folder, as `sequence` does */
export async function studyFacts(args: StudyArguments, run: Run, keepEdits: boolean): Promise<Report> {
  const { facts: all, name } = await factsFrom(args);
  const { facts, duplicates, overruled } = settleFacts(all, name, args.conflicts ?? 'refuse');
  if (duplicates + overruled > 0)
    run.terminal.note(
      `palimpsest: ${duplicates} facts are there twice, ${overruled} are contradicted later: left out.`,
    );
  const corpus = await readData('--held-out', args.heldOut, 'wikitext.txt');
  const examples = await examplesFrom(args);
  const folder = args.out === undefined ? undefined : resolve(args.out);
  const schemas = { head: STUDY_HEAD, line: BATCH_LINE, nonFinite: 'object' } as const;
  const journal =
    folder === undefined
      ? memoryRun<StudyHead, BatchLine>()
      : await openRun<StudyHead, BatchLine>(folder, { mode: runMode(args, run), ...schemas });
  try {
    return await withFactsEditing(args, run, async (editing) => {
      const { session, seed } = editing;
      const { model, timed } = session;
      const documents = followed(model, corpus.text);
      const size = args.batch ?? facts.length;
      const freeTokens = args.freeTokens ?? FREE_TOKENS;
      const every = args.every ?? EVERY;
      const textTokens = args.textTokens ?? TEXT_TOKENS;
      const onCollapse = args.onCollapse ?? 'warn';
      const thresholds = thresholdsFrom(args);
      const settings = {
        ...editing.settings,
        anchor: args.anchorNorm ?? null,
        facts: hashOf(facts),
        batch: size,
        held_out: hashOf(documents),
        free_tokens: freeTokens,
        ...{ every, text_tokens: textTokens, on_collapse: onCollapse, thresholds },
        downstream: args.downstreamEvery ? [args.downstreamEvery, hashOf([...examples])] : null,
        seed,
      };
      journal.check(settings);
      const { writing, anchor } = await anchoredWriting(
        editing,
        args,
        { facts, size, known: journal.head?.anchor },
        run,
      );
      const done = factsOf(journal.lines);
      if (done > 0) run.terminal.note(`palimpsest: going on from ${plural(done, 'fact')} in ${folder}`);
      const there = journal.lines.length;
      const bar = factsProgress(run.terminal, facts.length, done);
      let study: Study;
      try {
        study = await timed('study', () =>
          studyBatches(
            model,
            facts,
            editing.layers,
            {
              ...{ writing, size, documents, freeTokens, every, textTokens, onCollapse, thresholds, seed },
              signal: run.signal,
              onBatch: (line) => {
                if (line.batch > there) tellBatch(line, onCollapse, run);
              },
              downstream: downstreamFrom(args, examples, seed, run.signal),
              onValues: bar.update,
              onPhase: (phase) => run.terminal.phase(phase),
            },
            journal,
            { settings, anchor },
          ),
        );
      } finally {
        bar.stop();
      }
      if (folder !== undefined && keepEdits)
        await timed('write', () =>
          writeBatchFiles(writtenFacts(editing, facts, journal, study.lines), (batch) =>
            join(folder, 'edits', editFileName(batch)),
          ),
        );
      return reported(editing, { study, facts, size, name, folder, hasReport: keepEdits }, run);
    });
  } finally {
    await journal.close();
  }
}

interface Done {
  readonly study: Study;
  readonly facts: readonly Fact[];
  readonly size: number;
  readonly name: string;
  readonly folder: string | undefined;
  readonly hasReport: boolean;
}

async function reported(editing: FactsEditing, done: Done, run: Run): Promise<Report> {
  const { session, writing, layers, seed } = editing;
  const { study, facts, size, name, folder, hasReport } = done;
  const { head, kept, written, end } = study;
  const { terminal } = run;
  const lines = stepsOf(study);
  const ofKept = (cases: readonly Judged[]): Judged[] => cases.filter((_, i) => kept[i]);
  const summaries = {
    before: summariseJudged(head.before.cases, seed),
    written: summariseJudged(ofKept(written), seed),
    end: summariseJudged(ofKept(end.cases), seed),
  };
  const survival = survivalOf(ofKept(end.cases));
  const forgotten = written.filter((one, i) => kept[i] && one.holds && !end.cases[i]?.holds).length;
  const flat = Object.fromEntries(
    Object.entries(summaries).map(([title, { n, values, interval, free }]) => [
      title,
      { n, ...values, free, interval },
    ]),
  );
  const missing = missingMeasures(facts);
  terminal.heading(
    `${METHOD_TABLE[writing.method].title}: ${plural(facts.length, 'fact')} of ${name}, ${writing.kind === 'mass' ? `${size} at a time` : 'one after another'}, on the same weights`,
  );
  showJudged(terminal, summaries);
  for (const reason of missing) terminal.say(reason, '', 'dim');
  showSequence(terminal, { head, lines });
  const sigma = Math.max(...end.layers.map(({ spectral_norm }) => spectral_norm));
  terminal.say(
    `${survival.holding} of ${plural(survival.kept, 'kept fact')} hold at the end; ${forgotten} that held when they were written no longer do. ` +
      `The largest singular value of W - W0 is ${short(sigma)}.`,
  );
  if (folder !== undefined) {
    await writeAtomic(join(folder, 'end.json'), `${JSON.stringify(survival, null, 1)}\n`);
    const command = `palimpsest sequence --method ${writing.method} --count ${facts.length} --batch ${size}`;
    const sequence = { method: writing.method, head, lines };
    if (hasReport)
      await session.timed('report', () =>
        writeSequenceReport(folder, sequence, command, { session, layers }),
      );
    terminal.say(
      `Wrote ${folder}: run.jsonl has a line a batch, end.json what holds${hasReport ? ', report.html the figures' : ''}.`,
    );
  }
  reportTimings(session, run);
  const of = ({ cases: _, ...measured }: Measured): object => measured;
  const result = {
    method: writing.method,
    layers,
    n: facts.length,
    batches: cutFacts(facts, { writing, size }).map(({ length }) => length),
    ...flat,
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
  };
  return { ...session.about, result, timings_ms: session.timings };
}

function showJudged(
  terminal: Terminal,
  summaries: Readonly<Record<'before' | 'written' | 'end', ReturnType<typeof summariseJudged>>>,
): void {
  const all = Object.values(summaries);
  const known = MEASURES.filter((name) => all.some(({ values }) => values[name] !== undefined));
  const hasFree = all.some(({ free }) => free !== undefined);
  const titles = { before: 'unedited', written: 'when written', end: 'at the end' };
  terminal.table(
    [...left(''), ...right(...known, ...(hasFree ? ['free'] : []))],
    (['before', 'written', 'end'] as const).map((which) => {
      const { values, free } = summaries[which];
      const cells = known.map((name) => values[name]?.toFixed(1) ?? '');
      return [titles[which], ...cells, ...(hasFree ? [free?.toFixed(1) ?? ''] : [])];
    }),
  );
  terminal.say(
    'ES, PS, NS and S by comparison, EM, PM and NM by arg-max, all under teacher forcing; free: of texts that the model writes by itself, those that name the new object.',
    '',
    'dim',
  );
}

/** Whether the edits that were kept still hold after the last one: `end.json`. */
export function survivalOf<T extends { readonly holds: boolean }>(
  edits: readonly T[],
): { readonly kept: number; readonly holding: number; readonly edits: readonly T[] } {
  return { kept: edits.length, holding: edits.filter(({ holds }) => holds).length, edits };
}

/** `report.html` of a run, with its figures. */
export async function writeSequenceReport(
  folder: string,
  sequence: SequenceRun,
  command: string,
  { session, layers }: { readonly session: Session; readonly layers: readonly number[] },
): Promise<void> {
  const { adapter, model } = session.about;
  const edits = sequence.lines.at(-1)?.edit ?? 0;
  const files = await makeReport({
    title: `${METHOD_TABLE[sequence.method].title}: ${edits} edits on ${model.id}`,
    about: [
      ['model', `${model.id}; sha256 ${model.sha256.slice(0, 16)}`],
      [layers.length === 1 ? 'edit layer' : 'edit layers', layers.join(', ')],
      ['adapter', adapter.description],
    ],
    command,
    sequences: [sequence],
  });
  for (const [name, content] of files) await writeAtomic(join(folder, name), content);
}

/** The measurements of a run, and its largest edits or batches. */
export function showSequence(terminal: Terminal, { head, lines }: Omit<SequenceRun, 'method'>): void {
  const measured = lines.filter(({ metrics }) => metrics !== undefined);
  const { before } = head;
  // Without true objects nothing can be compared: then by arg-max.
  const took = measured.some(({ metrics }) => metrics?.recent.values.ES !== undefined) ? 'ES' : 'EM';
  if (before.perplexity !== undefined) {
    terminal.heading('The model while it is edited');
    terminal.table(
      [
        ...left('edits'),
        ...right('|W - W0|/|W0|', 'perplexity', 'entropy', `${took} recent`, `${took} earlier`, 'NS recent'),
      ],
      [
        ['0', '0', ...language(before), '', '', ''],
        ...someRows(measured).map((line) => [
          String(line.edit),
          short(line.relative_total),
          ...language(line),
          percent(line.metrics?.recent.values[took]),
          percent(line.metrics?.earlier.values[took]),
          percent(line.metrics?.recent.values.NS),
        ]),
      ],
    );
  }
  const isSingle = lines.every((line) => 'prompt' in line);
  terminal.heading(`The largest ${isSingle ? 'edits' : 'batches'}`);
  const largest = lines.toSorted((a, b) => b.update_norm - a.update_norm).slice(0, WORST);
  terminal.table(
    [
      ...left(isSingle ? 'edit' : 'facts'),
      ...right('|Δ|', 'cosine'),
      ...left('verdict', 'kept', ...(isSingle ? ['fact'] : [])),
    ],
    largest.map((line) => [
      'facts' in line && line.facts > 1 ? `${line.edit - line.facts + 1} to ${line.edit}` : `${line.edit}`,
      short(line.update_norm),
      line.cosine === undefined ? '' : short(line.cosine),
      line.verdict,
      line.kept ? 'yes' : 'no',
      ...('prompt' in line ? [factLine(line, line.target_new)] : []),
    ]),
  );
  terminal.print();
}

function language({ perplexity, entropy }: HealthNumbers): [string, string] {
  return [perplexity === undefined ? '' : short(perplexity), entropy === undefined ? '' : entropy.toFixed(3)];
}

function percent(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(1);
}
