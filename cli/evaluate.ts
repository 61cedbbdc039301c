/** `palimpsest evaluate`: single edits over a data set, each taken back bit for bit; with --batch, all on the same weights. */
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { METHOD_TABLE, type Method } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { Interrupted, UsageError } from '../src/errors.ts';
import { casesInCache, factsShard, openCases, readShards } from '../src/io/case-runs.ts';
import { sha256File, readText } from '../src/io/file.ts';
import { evaluate as evaluateFacts, type CaseResult, type EvaluateOptions } from '../src/lab/evaluate.ts';
import { TOKEN_METRICS, missingMeasures } from '../src/lab/metrics.ts';
import type { PromptRow } from '../src/lab/probes.ts';
import { dangerousEdits, sideEffects, summariseBefore, summariseMethod } from '../src/lab/summary.ts';
import type { MethodSummary } from '../src/lab/summary.ts';
import { readReferences } from '../src/lab/texts.ts';
import { percent, plural, short } from '../src/numerals.ts';
import { quoted } from '../src/printable.ts';
import { left, right } from '../src/table.ts';
import { command, type Report, type Run } from './commands.ts';
import { noteIdle, methodsFrom, singleFlags, withEditing } from './edit-options.ts';
import { FOLDERS } from './files.ts';
import { STUDY_FLAGS, asksForBatches, studyFacts } from './facts-study.ts';
import { EDIT_FLAGS, FACTS_FLAGS, MODEL_FLAGS, files, flag, folder, input, text } from './flags.ts';
import type { Given } from './flags.ts';
import { DATA, LAB_FLAGS, factsFrom, settingsOf, thresholdsFrom, type LabArguments } from './lab.ts';
import type { Terminal } from './terminal.ts';

const MOST_LISTED = 20;
const WORST = 10;

type Metric = keyof MethodSummary['interval'];

const FAMILIES: Readonly<Record<string, readonly Metric[]>> = {
  'by comparison of both objects, percent': ['ES', 'PS', 'NS', 'S'],
  'by arg-max: every token of the object first, percent': ['EM', 'PM', 'NM'],
  'share of answer tokens predicted, percent': [...TOKEN_METRICS],
  'generated texts: n-gram entropy × 100, word entropy 0 to 1, TF-IDF cosine × 100': ['GE', 'entropy', 'RS'],
};

const OWN_FLAGS = {
  out: folder('keep every case in this folder: run.json, run.jsonl', FOLDERS.run),
  resume: flag('go on with the run in that folder; without one, a run that was stopped goes on by itself'),
  'find-disabling': flag('only list the edits that would disable the model'),
  shard: text('this part of the facts, i/n with i from 0; auto/n, auto: as the scheduler says. Needs --out'),
  references: input('attribute_snippets.json of ROME: texts for consistency (RS)'),
} as const;

export const evaluate = command({
  positionals: { data: DATA, shards: files('after the word merge: folders of shards, brought together') },
  flags: { ...LAB_FLAGS, ...OWN_FLAGS, ...EDIT_FLAGS, ...FACTS_FLAGS, ...STUDY_FLAGS, ...MODEL_FLAGS },
  examples: { '$0 evaluate --method all --count 40': 'the three methods on the first 40 facts' },
  epilogue: 'palimpsest evaluate merge FOLDER...: what the shards of one evaluation found, as one.',
  run: async (args, run) => {
    const shards = args.shards ?? [];
    if (args.data === 'merge' && shards.length > 0) return mergeShards(shards, run);
    if (args.data === 'merge' || shards.length > 0)
      throw new UsageError(
        'evaluate: expected one data file, or the word merge and the folders of shards: palimpsest evaluate merge FOLDER...',
      );
    noteIdle(args, run.terminal);
    if (!asksForBatches(args)) return runEvaluate({ ...args, ...singleFlags(args) }, run);
    if (args.shard !== undefined)
      throw new UsageError(
        '--shard: batches are written into the same weights, one after another; expected no --shard with --batch.',
      );
    return studyFacts(args, run, false);
  },
});

async function runEvaluate(args: LabArguments & Given<typeof OWN_FLAGS>, run: Run): Promise<Report> {
  const methods = methodsFrom(args);
  const { facts: all, name } = await factsFrom(args);
  const shard = factsShard(args, all);
  const facts = shard ? all.slice(shard.first, shard.first + shard.facts) : all;
  const references = await referencesFrom(args.references);
  const target = args.out === undefined ? undefined : resolve(args.out);
  const kept = target === undefined ? undefined : await openCases(target, run.files.runMode);
  return withEditing(args, run, async (editing) => {
    const { edit, seed, model, timed, terminal, signal } = editing;
    const settings = {
      ...settingsOf(editing, args, name),
      methods,
      measure: !args.findDisabling,
      text_tokens: args.textTokens,
      references: args.references === undefined ? null : await sha256File(args.references),
      ...(shard && { shard: { ...shard, missing: missingMeasures(facts) } }),
    };
    const { journal, place } = kept
      ? { journal: kept, place: target }
      : await casesInCache(settings, facts, terminal);
    journal?.check(settings, facts);
    if (journal && !journal.head) await journal.begin({ schema: 1, settings });
    let finished = journal?.lines.length ?? 0;
    if (finished > 0) editing.note(`going on from ${plural(finished, 'case')} in ${place}`);
    // Cases of the cache are kept until their result is told.
    const letGo = async (): Promise<void> => {
      if (!kept && place !== undefined) await rm(place, { recursive: true, force: true });
    };
    const bar = terminal.progress('evaluate');
    const options = {
      ...{ methods, edit, seed, references, journal, signal, textTokens: args.textTokens },
      thresholds: thresholdsFrom(args),
      measure: !args.findDisabling,
      onCase: (_: unknown, done: number, total: number) => bar.update((finished = done), total),
    };
    const stopped = (error: unknown): never => {
      if (!signal.aborted || !journal || finished === 0) throw error;
      throw new Interrupted(
        `interrupted: ${finished} of ${plural(facts.length, 'case')} are kept in ${place}. ` +
          `The same command ${kept ? 'with --resume ' : ''}goes on from there.`,
      );
    };
    const end = async (): Promise<void> => {
      bar.stop();
      await journal?.close();
      if (finished === 0) await letGo();
    };
    const cases = await timed('evaluate', () => evaluateFacts(model, facts, options))
      .catch(stopped)
      .finally(end);
    const part = shard ? `, shard ${shard.index} of ${shard.of}` : '';
    const { length: earlier } = editing.edits;
    const which = earlier === 0 ? 'unedited model' : `model with ${plural(earlier, 'edit')}`;
    terminal.heading(`${facts.length} of ${name}${part}, each on the ${which}`);
    const missing = missingMeasures(facts);
    const result = tellEvaluation(terminal, { cases, methods, seed, missing, listOnly: args.findDisabling });
    return { ...editing.report({ ...result, folder: target }), told: letGo };
  }).finally(() => kept?.close());
}

interface Evaluation {
  readonly cases: readonly CaseResult[];
  readonly methods: readonly Method[];
  readonly seed: number;
  readonly missing: readonly string[];
  /** Nothing but dangerous edits was looked for. */
  readonly listOnly: boolean | undefined;
}

/** Prints an evaluation. @returns one method as `cli.md` has it; several under `methods`, each of that form */
function tellEvaluation(terminal: Terminal, evaluation: Evaluation): object {
  const { cases, methods, seed, missing, listOnly } = evaluation;
  const dangerous = dangerousEdits(cases);
  const about = { n: cases.length, method: methods.length === 1 ? methods[0] : 'all' };
  if (listOnly) {
    showDangerous(terminal, dangerous);
    return { ...about, dangerous, missing };
  }
  const before = summariseBefore(cases, seed);
  const summaries = methods.map((method) => summariseMethod(cases, method, seed));
  showSummaries(terminal, [before, ...summaries]);
  for (const reason of missing) terminal.say(reason, '', 'dim');
  for (const method of methods) showSideEffects(terminal, cases, method);
  showDangerous(terminal, dangerous);
  const results = methods.map((method, i) => ({
    ...summaries[i],
    cases: cases.map(({ methods: found, ...rest }) => ({ ...rest, ...found[method] })),
  }));
  if (results.length === 1) return { ...results[0], before, dangerous, missing };
  const byMethod = Object.fromEntries(methods.map((method, i) => [method, results[i]]));
  return { ...about, methods: byMethod, before, dangerous, missing };
}

/** `evaluate merge`: the cases of all shards as one evaluation. */
async function mergeShards(folders: readonly string[], { terminal }: Run): Promise<Report> {
  const { settings, ...merged } = await readShards(folders);
  const { methods, measure, seed, model } = settings;
  const shards = plural(folders.length, 'shard');
  terminal.heading(`${merged.cases.length} facts of ${shards}, each on model ${model.id}`);
  const result = tellEvaluation(terminal, { ...merged, methods, seed, listOnly: !measure });
  return { model: { id: model.id, sha256: model.sha256 }, result };
}

export async function referencesFrom(path: string | undefined): Promise<EvaluateOptions['references']> {
  if (path === undefined) return undefined;
  const content = await readText(path, (what) => new UsageError(`--references ${path}: ${what}.`));
  return readReferences(content, `--references ${path}`);
}

/** A table a family of metrics, with 95 % intervals; families that no record has are left out. */
function showSummaries(terminal: Terminal, summaries: readonly MethodSummary[]): void {
  for (const [title, names] of Object.entries(FAMILIES)) {
    const known = names.filter((name) => summaries.some((summary) => summary[name] !== undefined));
    if (known.length === 0) continue;
    terminal.print();
    terminal.say(title, '', 'dim');
    terminal.table(
      summaries.filter((summary) => known.some((name) => summary[name] !== undefined)),
      [
        left('', ({ method }) => (method === 'before' ? 'before' : METHOD_TABLE[method].title)),
        ...known.map((name) => right(name, (summary: MethodSummary) => cell(summary, name))),
      ],
    );
  }
}

/** The prompts that edits turned to the worse, those that lost most first. */
function showSideEffects(terminal: Terminal, cases: readonly CaseResult[], method: Method): void {
  const effects = sideEffects(cases, method);
  const asked = cases.flatMap(({ methods }) => methods[method]?.prompts ?? []);
  const count = (kind: PromptRow['kind'], noun: string): string[] => {
    const wrong = effects.filter(({ after }) => after.kind === kind).length;
    const all = asked.filter((row) => row.kind === kind).length;
    return all === 0 ? [] : [`${wrong} of ${plural(all, noun)}`];
  };
  const lost = count('neighbourhood', 'neighbour').map((some) => `${some} lost the true object; `);
  const missed = [...count('rewrite', 'prompt'), ...count('paraphrase', 'paraphrase')].join(' and ');
  terminal.print();
  terminal.say(`${METHOD_TABLE[method].title}: ${lost.join('')}${missed} did not take the new one.`);
  if (effects.length === 0) return;
  const chance = (logprob: number | null): string => (logprob === null ? '' : percent(logprob));
  terminal.table(effects.slice(0, WORST), [
    left('case', ({ case_id }) => case_id),
    left('kind', ({ after }) => after.kind),
    right('p(true) before', ({ before }) => chance(before.true_logprob)),
    right('after', ({ after }) => chance(after.true_logprob)),
    right('p(new) before', ({ before }) => chance(before.target_logprob)),
    right('after', ({ after }) => chance(after.target_logprob)),
    left('says now', ({ after }) => quoted(after.says)),
    left('prompt', ({ after }) => after.prompt),
  ]);
}

function showDangerous(terminal: Terminal, list: ReturnType<typeof dangerousEdits>): void {
  const disabling = list.filter(({ verdict }) => verdict === 'disabling').length;
  terminal.print();
  terminal.say(`${disabling} disabling and ${list.length - disabling} suspect edits.`);
  if (list.length === 0) return;
  terminal.table(list.slice(0, MOST_LISTED), [
    left('case', ({ case_id }) => case_id),
    left('method', ({ method }) => METHOD_TABLE[method].title),
    left('verdict', ({ verdict }) => verdict),
    right('cosine', ({ cosine }) => short(cosine)),
    right('relative', ({ relative_update }) => short(relative_update)),
    right('|Δ|', ({ normalised_update }) => normalised_update.toExponential(2)),
    left('edit', (edit) => factLine(edit, edit.target_new)),
  ]);
}

function cell(summary: MethodSummary, name: Metric): string | undefined {
  const digits = name === 'entropy' ? 3 : 1;
  const range = summary.interval[name]?.map((end) => end.toFixed(digits)).join(', ');
  return summary[name]?.toFixed(digits).concat(range === undefined ? '' : ` [${range}]`);
}
