/** `evaluate --batch` and `sequence --batch`: facts in batches on the same weights, judged when written and all at the end. */
import { join, resolve } from 'node:path';
import type { Fact } from '../src/data/fact.ts';
import { settleFacts } from '../src/data/conflicts.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
import { STUDY_HEAD, studyBatches, summariseJudged } from '../src/lab/batch-study.ts';
import type { Judged, Measured, Study, StudyHead } from '../src/lab/batch-study.ts';
import { BATCH_LINE, cutFacts } from '../src/lab/fact-batches.ts';
import type { BatchLine } from '../src/lab/fact-batches.ts';
import { heldOut } from '../src/lab/health.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import { memoryJournal } from '../src/lab/sequence.ts';
import type { Report, Run } from './commands.ts';
import { factsProgress, writeFactsFiles } from './edit-facts.ts';
import { readData } from '../src/io/file.ts';
import { number } from './flags.ts';
import { downstreamFrom, examplesFrom, factsFrom, hashOf, runMode } from './lab.ts';
import type { DownstreamArguments, LabArguments } from './lab.ts';
import { massMethodOf } from './edit-options.ts';
import { anchoredWriting, withFactsEditing } from './mass-options.ts';
import type { FactsArguments, FactsEditing } from './mass-options.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import { plural, short } from '../src/numerals.ts';

const RIGHT = { align: 'right' } as const;
const MEASURES = ['ES', 'PS', 'NS', 'S', 'EM', 'PM', 'NM'] as const;
const MOST_ROWS = 12;
/** Documents of the corpus whose perplexity is followed. */
const HELD_OUT = 12;
const FREE_TOKENS = 20;

export interface StudyArguments
  extends Omit<LabArguments, 'method' | 'covariance'>, FactsArguments, DownstreamArguments {
  readonly out?: string | undefined;
  readonly resume: boolean;
  readonly heldOut?: string | undefined;
  readonly freeTokens?: number | undefined;
}

/** Beside those of an edit and of facts. */
export const STUDY_FLAGS = {
  'free-tokens': number(
    '--free-tokens',
    `with --batch: tokens that the model writes by itself after every prompt; 0 for none [default: ${FREE_TOKENS}]`,
    { integer: true, min: 0 },
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
  const journal = await openStudy(folder, args, run);
  try {
    return await withFactsEditing(args, run, async (editing) => {
      const { session, seed } = editing;
      const { model, timed } = session;
      const lines = corpus.text.split('\n').filter((line) => line.trim() !== '');
      const documents = heldOut(model, lines.slice(0, HELD_OUT));
      const size = args.batch ?? facts.length;
      const freeTokens = args.freeTokens ?? FREE_TOKENS;
      const settings = {
        ...editing.settings,
        anchor: args.anchorNorm ?? null,
        facts: hashOf(facts),
        batch: size,
        held_out: hashOf(documents),
        free_tokens: freeTokens,
        downstream: args.downstreamEvery ? [args.downstreamEvery, hashOf([...examples])] : null,
        seed,
      };
      journal.check(settings);
      const { writing, anchor } = await anchoredWriting(editing, args, facts, journal.head?.anchor, run);
      const done = journal.lines.reduce((sum, { case_ids }) => sum + case_ids.length, 0);
      if (done > 0) run.terminal.note(`palimpsest: going on from ${plural(done, 'fact')} in ${folder}`);
      const bar = factsProgress(run.terminal, facts.length, done);
      let study: Study;
      try {
        study = await timed('study', () =>
          studyBatches(
            model,
            facts,
            editing.layers,
            {
              ...{ writing, size, documents, freeTokens, seed, signal: run.signal },
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
          writeFactsFiles(editing, facts, { journal, lines: study.lines }, (b) =>
            join(folder, 'edits', `${String(b + 1).padStart(4, '0')}.safetensors`),
          ),
        );
      return reported(editing, { study, facts, size, name, folder }, run);
    });
  } finally {
    await journal.close();
  }
}

async function openStudy(
  folder: string | undefined,
  args: StudyArguments,
  run: Run,
): Promise<OpenRun<StudyHead, BatchLine>> {
  if (folder !== undefined) {
    const schemas = { head: STUDY_HEAD, line: BATCH_LINE, nonFinite: 'object' } as const;
    return openRun<StudyHead, BatchLine>(folder, { mode: runMode(args, run), ...schemas });
  }
  const memory = memoryJournal<StudyHead, BatchLine>();
  return Object.assign(memory, { close: () => Promise.resolve(), check: () => undefined });
}

interface Done {
  readonly study: Study;
  readonly facts: readonly Fact[];
  readonly size: number;
  readonly name: string;
  readonly folder: string | undefined;
}

async function reported(editing: FactsEditing, done: Done, run: Run): Promise<Report> {
  const { session, writing, seed } = editing;
  const { study, facts, size, name, folder } = done;
  const { before, written, end } = study;
  const summaries = {
    before: summariseJudged(before.cases, seed),
    written: summariseJudged(written, seed),
    end: summariseJudged(end.cases, seed),
  };
  const forgotten = written.filter((one, i) => one.holds && !end.cases[i]?.holds).length;
  const holding = end.cases.filter(({ holds }) => holds).length;
  const flat = Object.fromEntries(
    Object.entries(summaries).map(([title, { n, values, interval, free }]) => [
      title,
      { n, ...values, free, interval },
    ]),
  );
  const of = ({ perplexity, layers, downstream }: Measured): object => ({ perplexity, layers, downstream });
  const result = {
    method: writing.method,
    layers: editing.layers,
    n: facts.length,
    batches: cutFacts(facts, { writing, size }).map(({ length }) => length),
    ...flat,
    holding,
    forgotten,
    model_before: of(before),
    model_end: of(end),
    missing: missingMeasures(facts),
    cases: facts.map(({ caseId }, i) => ({
      case_id: caseId,
      before: before.cases[i],
      written: written[i],
      end: end.cases[i],
    })),
    folder,
  };
  const { terminal } = run;
  terminal.heading(
    `${METHOD_TABLE[writing.method].title}: ${plural(facts.length, 'fact')} of ${name}, ${writing.kind === 'mass' ? `${size} at a time` : 'one after another'}, on the same weights`,
  );
  showJudged(terminal, summaries);
  for (const reason of result.missing) terminal.say(reason, '', 'dim');
  terminal.say(
    `${holding} of ${plural(facts.length, 'fact')} hold at the end; ${forgotten} that held when they were written no longer do.`,
  );
  showWhole(terminal, study, facts);
  if (folder !== undefined) {
    const survival = { kept: facts.length, holding, edits: end.cases };
    await writeAtomic(join(folder, 'end.json'), `${JSON.stringify(survival, null, 1)}\n`);
    terminal.say(`Wrote ${folder}: run.jsonl has a line a batch, end.json what holds.`);
  }
  reportTimings(session, run);
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
    [{ title: '' }, ...[...known, ...(hasFree ? ['free'] : [])].map((title) => ({ title, ...RIGHT }))],
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

/** How the model fares batch by batch. */
function showWhole(terminal: Terminal, { before, lines, end }: Study, facts: readonly Fact[]): void {
  const row = (title: string, measured: Measured, recent: readonly Judged[] | undefined): string[] => {
    const sum = (of: (layer: Measured['layers'][number]) => number): number =>
      Math.max(...measured.layers.map(of));
    const share = recent && (100 * recent.filter(({ holds }) => holds).length) / recent.length;
    return [
      title,
      measured.perplexity === null ? '' : short(measured.perplexity),
      short(sum(({ relative_total }) => relative_total)),
      short(sum(({ spectral_norm }) => spectral_norm)),
      share === undefined ? '' : share.toFixed(1),
    ];
  };
  let count = 0;
  const rows = lines.map((line) => {
    const measured = line.measured as Measured;
    count += line.case_ids.length;
    return row(String(count), measured, measured.cases);
  });
  const step = Math.ceil(rows.length / MOST_ROWS);
  const heads = ['perplexity', '|ΔW|/|W|', 'largest σ of ΔW', 'hold, %'].map((title) => ({
    title,
    ...RIGHT,
  }));
  terminal.table(
    [{ title: 'facts', ...RIGHT }, ...heads],
    [
      row('0', before, undefined),
      ...rows.filter((_, i) => (rows.length - 1 - i) % step === 0),
      row(`all ${facts.length}`, end, end.cases),
    ],
  );
}
