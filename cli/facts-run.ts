/**
 * What `edit --facts` and `--batch` do alike: facts that can all be true, a run of them in a folder or in memory, and
 * batches that are written under a bar, told of when they are dangerous.
 */
import { settleFacts } from '../src/data/conflicts.ts';
import type { Fact } from '../src/data/fact.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { anchoredAt, measureAnchor } from '../src/edit/writing.ts';
import { UsageError } from '../src/errors.ts';
import type { WrittenFacts } from '../src/io/facts-files.ts';
import { hashOf, memoryRun, openRun, type JournalOptions, type OpenRun } from '../src/io/run.ts';
import { requestOf } from '../src/lab/evaluate.ts';
import { checkBatches, type BatchOptions } from '../src/lab/fact-batches.ts';
import type { BatchLine, FactsHead } from '../src/lab/run-journal.ts';
import { duration, plural } from '../src/numerals.ts';
import type { Report, Run } from './commands.ts';
import { tellDanger } from './lab.ts';
import type { FactsArguments } from './edit-options.ts';
import { withFactsEditing, type FactsEditing } from './mass-options.ts';
import type { Progress, Terminal } from './terminal.ts';

/** Where facts come from, and where the run of them lies. */
interface FactsSource<Head> {
  readonly facts: readonly Fact[];
  readonly name: string;
  /** undefined: nothing outlives the command. */
  readonly folder: string | undefined;
  readonly format: Omit<JournalOptions, 'mode'>;
  /** What the head of a run has of every fact. */
  readonly asked: (head: Head) => readonly unknown[];
}

export interface FactsRun<Head extends FactsHead> extends FactsEditing, FactsSource<Head> {
  /** Facts at a time. */
  readonly size: number;
  readonly journal: OpenRun<Head, BatchLine>;
}

/**
 * Opens a run and all that its facts are written with, and runs `use`.
 *
 * @throws UsageError for facts that contradict each other, unless the last of them counts
 */
export async function withFactsRun<Head extends FactsHead>(
  args: FactsArguments & { readonly resume?: boolean | undefined },
  source: FactsSource<Head>,
  run: Run,
  use: (open: FactsRun<Head>) => Promise<Report>,
): Promise<Report> {
  const { folder, format, name } = source;
  const { facts, duplicates, overruled } = settleFacts(source.facts, name, args.conflicts ?? 'refuse');
  if (duplicates > 0)
    run.terminal.note(`palimpsest: ${plural(duplicates, 'fact')} there twice: written once.`);
  if (overruled > 0)
    run.terminal.warn(
      `${plural(overruled, 'fact')} left out: a later one says the opposite (--conflicts last).`,
    );
  if (folder === undefined && args.resume)
    throw new UsageError('--resume: expected --out with the name that the run was begun with, found none.');
  const journal =
    folder === undefined
      ? memoryRun<Head, BatchLine>()
      : await openRun<Head, BatchLine>(folder, { mode: run.files.runMode, ...format });
  const size = args.batch ?? facts.length;
  return withFactsEditing(args, run, (editing) =>
    use({ ...source, ...editing, facts, size, journal }),
  ).finally(journal.close);
}

/**
 * Runs `write` on the batches that the run does not hold yet. What cannot be written is told first.
 *
 * @param own settings of the command, beside those of every run of facts
 * @throws UsageError for other settings than those that the run was begun with
 */
export async function underBar<Head extends FactsHead, T>(
  open: FactsRun<Head>,
  args: FactsArguments,
  own: object,
  write: (options: BatchOptions, begun: Pick<FactsHead, 'settings' | 'anchor'>) => Promise<T>,
): Promise<T> {
  const { model, terminal, timed, note, signal, facts, size, folder, journal } = open;
  const { onCollapse = 'warn', anchorNorm } = args;
  const settings = {
    ...open.settings,
    anchor: anchorNorm ?? null,
    facts: hashOf(facts),
    batch: open.writing.kind === 'mass' ? size : 1,
    on_collapse: onCollapse,
    ...own,
  };
  journal.check(settings);
  const there = journal.head && open.asked(journal.head).length;
  if (there !== undefined && there !== facts.length)
    throw new UsageError(
      `${folder}: run.json: expected what was asked of ${plural(facts.length, 'fact')}, found ${there}: it is damaged. Begin anew with --overwrite.`,
      'damaged_run',
    );
  await checkBatches(model, facts, { writing: open.writing, size, signal });
  // Before anything is written, and only once a run.
  const measure = (): Promise<number> =>
    timed('anchor', () => measureAnchor(model, open.writing, facts.map(requestOf), signal));
  const anchor = anchorNorm === 'measure' ? (journal.head?.anchor ?? (await measure())) : undefined;
  if (anchor !== undefined) note(`every value gets the length ${anchor.toPrecision(5)} (--anchor-norm)`);
  const batches = journal.lines.length;
  const done = journal.lines.reduce((sum, { case_ids }) => sum + case_ids.length, 0);
  if (done > 0) note(`going on from ${plural(done, 'fact')} in ${folder}`);
  const bar = factsProgress(terminal, facts.length, done);
  const options: BatchOptions = {
    writing: anchor === undefined ? open.writing : anchoredAt(open.writing, anchor),
    size,
    onCollapse,
    onBatch: (line) => {
      if (line.batch > batches) tellBatch(line, onCollapse, terminal);
    },
    onValues: bar.update,
    onPhase: (phase) => terminal.phase(phase),
    signal,
  };
  return write(options, { settings, anchor }).finally(bar.stop);
}

/** Facts, facts a minute and the time left. */
function factsProgress(terminal: Terminal, total: number, first: number): Progress {
  const start = performance.now();
  let now = first;
  const bar = terminal.progress('edit', String, () => {
    const rate = (60_000 * (now - first)) / (performance.now() - start);
    if (!(rate > 0) || now === total) return '';
    return ` (${Math.round(rate)} facts a minute, ${duration((60 * (total - now)) / rate)} left)`;
  });
  return { ...bar, update: (done) => bar.update((now = done), total) };
}

function tellBatch(line: BatchLine, onCollapse: string, terminal: Terminal): void {
  const { batch, method, case_ids, layers } = line;
  const facts = case_ids.length;
  const relative_update = Math.max(...layers.map((layer) => layer.relative_update));
  const name = `batch ${batch}, ${METHOD_TABLE[method].title} on ${plural(facts, 'fact')}`;
  tellDanger(name, { ...line, relative_update, facts }, onCollapse, terminal);
}

export function writtenFacts(
  open: FactsEditing & Pick<WrittenFacts, 'facts' | 'journal'>,
  lines: readonly BatchLine[],
): WrittenFacts {
  const { model, facts, journal, covariances, settings, contextsSeed: seed, earlier } = open;
  const circumstances = { method: open.writing.method, covariances, settings, seed, earlier };
  return { model, facts, journal, lines, circumstances };
}
