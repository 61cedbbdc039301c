/** `palimpsest evaluate`: single edits over a data set, each taken back bit for bit; with --batch, all on the same weights. */
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import { factLine } from '../src/edit/template.ts';
import { Interrupted, UsageError } from '../src/errors.ts';
import { casesInCache, factsShard, openCases, readShards } from '../src/io/case-runs.ts';
import { sha256File } from '../src/io/file.ts';
import { evaluate as evaluateFacts } from '../src/lab/evaluate.ts';
import type { CaseResult, EvaluateOptions } from '../src/lab/evaluate.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import type { PromptRow } from '../src/lab/probes.ts';
import { dangerousEdits, sideEffects, summariseBefore, summariseMethod } from '../src/lab/summary.ts';
import type { Dangerous, MethodSummary } from '../src/lab/summary.ts';
import { readReferences } from '../src/lab/texts.ts';
import { command } from './commands.ts';
import type { Report, Run } from './commands.ts';
import { methodsFrom, singleFlags } from './edit-options.ts';
import { readText } from '../src/io/file.ts';
import { FOLDERS } from './files.ts';
import { STUDY_FLAGS, asksForBatches, studyFacts } from './facts-study.ts';
import { EDIT_FLAGS, FACTS_FLAGS, MODEL_FLAGS, files, flag, folder, input, text } from './flags.ts';
import {
  DATA,
  DOWNSTREAM_FLAGS,
  HELD_OUT_FLAG,
  LAB_FLAGS,
  factsFrom,
  runMode,
  settingsOf,
  withLab,
} from './lab.ts';
import type { LabArguments } from './lab.ts';
import { reportTimings } from './session.ts';
import type { Terminal } from './terminal.ts';
import { percent, plural, short } from '../src/numerals.ts';
import { left, right } from '../src/table.ts';
import { quoted } from './text.ts';

const COMPARED = ['ES', 'PS', 'NS', 'S'] as const;
const FIRST = ['EM', 'PM', 'NM'] as const;
const TEXTS = ['GE', 'entropy', 'RS'] as const;
const TOKENS = ['rewrite_acc', 'paraphrase_acc', 'locality_acc', 'locality_agreement'] as const;
const MOST_LISTED = 20;
/** Prompts listed of each method. */
const WORST = 10;

const FAMILIES: readonly (readonly [title: string, names: readonly (keyof MethodSummary['interval'])[]])[] = [
  ['by comparison of both objects, percent', COMPARED],
  ['by arg-max: every token of the object first, percent', FIRST],
  ['share of answer tokens predicted, percent', TOKENS],
  ['generated texts: n-gram entropy × 100, word entropy 0 to 1, TF-IDF cosine × 100', TEXTS],
];

interface EvaluateCommand extends LabArguments {
  readonly out?: string | undefined;
  readonly resume: boolean;
  readonly findDisabling: boolean;
  readonly references?: string | undefined;
  readonly shard?: string | undefined;
}

export const evaluate = command({
  flags: (yargs) =>
    yargs
      .positional('data', DATA)
      .positional('shards', files('after the word merge: folders of shards, brought together'))
      .options(LAB_FLAGS)
      .options({
        out: folder('keep every case in this folder: run.json, run.jsonl', FOLDERS.run),
        resume: flag(
          'go on with the run in that folder; without one, a run that was stopped goes on by itself',
        ),
        'find-disabling': flag('only list the edits that would disable the model'),
        shard: text(
          'this part of the facts, i/n with i from 0; auto/n or auto: as the scheduler says. Needs --out',
        ),
        references: input('attribute_snippets.json of ROME: texts for consistency (RS)'),
      })
      .options({ ...EDIT_FLAGS, ...FACTS_FLAGS })
      .options({ ...STUDY_FLAGS, ...DOWNSTREAM_FLAGS })
      .options({ 'held-out': HELD_OUT_FLAG })
      .options(MODEL_FLAGS)
      .example('$0 evaluate --method all --count 40', 'the three methods on the first 40 facts')
      .epilogue('palimpsest evaluate merge FOLDER...: what the shards of one evaluation found, as one.'),
  run: async (args, run) => {
    const shards = args.shards ?? [];
    if (args.data === 'merge' && shards.length > 0) return mergeShards(shards, run);
    if (args.data === 'merge' || shards.length > 0)
      throw new UsageError(
        'evaluate: expected one data file, or the word merge and the folders of shards: palimpsest evaluate merge FOLDER...',
      );
    if (!asksForBatches(args)) return runEvaluate({ ...args, ...singleFlags(args) }, run);
    if (args.shard !== undefined)
      throw new UsageError(
        '--shard: batches are written into the same weights, one after another; expected no --shard with --batch.',
      );
    return studyFacts(args, run, false);
  },
});

async function runEvaluate(args: EvaluateCommand, run: Run): Promise<Report> {
  const methods = methodsFrom(args);
  const { facts: all, name } = await factsFrom(args);
  const shard = factsShard(args, all);
  const facts = shard ? all.slice(shard.first, shard.first + shard.facts) : all;
  const references = await referencesFrom(args.references);
  const target = args.out === undefined ? undefined : resolve(args.out);
  const kept = target === undefined ? undefined : await openCases(target, runMode(args, run));
  return withLab(args, run, async (lab) => {
    const { session, edit, thresholds, seed } = lab;
    const { model, timed, timings, about } = session;
    const settings = {
      ...settingsOf(lab, args, name),
      methods,
      measure: !args.findDisabling,
      text_tokens: args.textTokens,
      references: args.references === undefined ? null : await sha256File(args.references),
      ...(shard && { shard: { ...shard, missing: missingMeasures(facts) } }),
    };
    const { journal, place } = kept
      ? { journal: kept, place: target }
      : await casesInCache(settings, facts, run.terminal);
    journal?.check(settings, facts);
    if (journal && !journal.head) await journal.begin({ schema: 1, settings });
    let finished = journal?.lines.length ?? 0;
    if (finished > 0) run.terminal.note(`palimpsest: going on from ${plural(finished, 'case')} in ${place}`);
    const bar = run.terminal.progress('evaluate');
    let cases: CaseResult[];
    try {
      cases = await timed('evaluate', () =>
        evaluateFacts(model, facts, {
          methods,
          edit,
          seed,
          thresholds,
          measure: !args.findDisabling,
          textTokens: args.textTokens,
          references,
          journal,
          onCase: (_, done, total) => bar.update((finished = done), total),
          signal: run.signal,
        }),
      );
    } catch (error) {
      if (run.signal.aborted && journal && finished > 0)
        throw new Interrupted(
          `interrupted: ${finished} of ${plural(facts.length, 'case')} are kept in ${place}. ` +
            `The same command ${kept ? 'with --resume ' : ''}goes on from there.`,
        );
      throw error;
    } finally {
      bar.stop();
      await journal?.close();
      if (!kept && place !== undefined && (cases! ?? finished === 0))
        await rm(place, { recursive: true, force: true });
    }
    const missing = missingMeasures(facts);
    const result = { ...resultOf(cases, methods, seed, args.findDisabling), missing };
    const part = shard ? `, shard ${shard.index} of ${shard.of}` : '';
    run.terminal.heading(`${facts.length} of ${name}${part}, each on the unedited model`);
    showCases(run.terminal, cases, { methods, seed, missing, listOnly: args.findDisabling });
    reportTimings(session, run);
    return { ...about, result: { ...result, folder: target }, timings_ms: timings };
  }).finally(() => kept?.close());
}

interface Shown {
  readonly methods: readonly Method[];
  readonly seed: number;
  readonly missing: readonly string[];
  readonly listOnly: boolean;
}

function showCases(terminal: Terminal, cases: readonly CaseResult[], shown: Shown): void {
  const { methods, seed, missing, listOnly } = shown;
  if (!listOnly) {
    showSummaries(terminal, [
      summariseBefore(cases, seed),
      ...methods.map((method) => summariseMethod(cases, method, seed)),
    ]);
    for (const reason of missing) terminal.say(reason, '', 'dim');
    for (const method of methods) showSideEffects(terminal, cases, method);
  }
  showDangerous(terminal, dangerousEdits(cases));
}

/** `evaluate merge`: the cases of all shards as one evaluation. */
async function mergeShards(folders: readonly string[], { terminal }: Run): Promise<Report> {
  const { cases, missing, settings } = await readShards(folders);
  const { methods, measure, model, seed } = settings;
  const { id, sha256 } = model;
  terminal.heading(`${cases.length} facts of ${plural(folders.length, 'shard')}, each on the unedited ${id}`);
  showCases(terminal, cases, { methods, seed, missing, listOnly: !measure });
  return { model: { id, sha256 }, result: { ...resultOf(cases, methods, seed, !measure), missing } };
}

/** One method as `cli.md` has it; several under `methods`, each of that form. */
function resultOf(
  cases: readonly CaseResult[],
  methods: readonly Method[],
  seed: number,
  listOnly: boolean,
): object {
  const listed = { dangerous: dangerousEdits(cases) };
  if (listOnly) return { n: cases.length, method: methods.length === 1 ? methods[0] : 'all', ...listed };
  const one = (method: Method): MethodSummary & { cases: unknown[] } => ({
    ...summariseMethod(cases, method, seed),
    cases: cases.map(({ methods: found, ...rest }) => ({ ...rest, ...found[method] })),
  });
  const before = summariseBefore(cases, seed);
  const [first] = methods;
  if (methods.length === 1 && first) return { ...one(first), before, ...listed };
  return {
    n: cases.length,
    method: 'all',
    methods: Object.fromEntries(methods.map((method) => [method, one(method)])),
    before,
    ...listed,
  };
}

/** ROME's file of texts about the objects. */
export async function referencesFrom(path: string | undefined): Promise<EvaluateOptions['references']> {
  if (path === undefined) return undefined;
  const content = await readText(path, (what) => new UsageError(`--references ${path}: ${what}.`));
  return readReferences(content, `--references ${path}`);
}

/** A table a family of metrics, with 95 % intervals; families that no record has are left out. */
function showSummaries(terminal: Terminal, summaries: readonly MethodSummary[]): void {
  for (const [title, names] of FAMILIES) {
    const known = names.filter((name) => summaries.some((summary) => summary[name] !== undefined));
    if (known.length === 0) continue;
    terminal.print();
    terminal.say(title, '', 'dim');
    terminal.table(
      [...left(''), ...right(...known)],
      summaries
        .filter((summary) => known.some((name) => summary[name] !== undefined))
        .map((summary) => [
          summary.method === 'before' ? 'unedited' : METHOD_TABLE[summary.method].title,
          ...known.map((name) => cell(summary[name], summary.interval[name], name === 'entropy' ? 3 : 1)),
        ]),
    );
  }
}

/** The prompts that edits turned to the worse, those that lost most first. */
function showSideEffects(terminal: Terminal, cases: readonly CaseResult[], method: Method): void {
  const effects = sideEffects(cases, method);
  const count = (kind: PromptRow['kind']): string => {
    const asked = cases.flatMap(({ methods }) => methods[method]?.prompts ?? []);
    const wrong = effects.filter(({ after }) => after.kind === kind).length;
    return `${wrong} of ${asked.filter((row) => row.kind === kind).length}`;
  };
  terminal.print();
  terminal.say(
    `${METHOD_TABLE[method].title}: ${count('neighbourhood')} neighbours lost their true object; ` +
      `${count('rewrite')} prompts and ${count('paraphrase')} paraphrases do not take the new one.`,
  );
  if (effects.length === 0) return;
  const chance = (logprob: number | null): string => (logprob === null ? '' : percent(logprob));
  terminal.table(
    [
      ...left('case', 'kind'),
      ...right('p(true) before', 'after', 'p(new) before', 'after'),
      ...left('says now', 'prompt'),
    ],
    effects
      .slice(0, WORST)
      .map(({ case_id, before, after }) => [
        String(case_id),
        after.kind,
        chance(before.true_logprob),
        chance(after.true_logprob),
        chance(before.target_logprob),
        chance(after.target_logprob),
        quoted(after.says),
        after.prompt,
      ]),
  );
}

function showDangerous(terminal: Terminal, list: readonly Dangerous[]): void {
  const disabling = list.filter(({ verdict }) => verdict === 'disabling').length;
  terminal.print();
  terminal.say(`${disabling} disabling and ${list.length - disabling} suspect edits.`);
  if (list.length === 0) return;
  terminal.table(
    [...left('case', 'method', 'verdict'), ...right('cosine', '|Δ|/|W|', '|Δ| per element'), ...left('edit')],
    list
      .slice(0, MOST_LISTED)
      .map(
        ({
          case_id,
          method,
          verdict,
          cosine,
          relative_update,
          normalised_update,
          prompt,
          subject,
          target_new,
        }) => [
          String(case_id),
          METHOD_TABLE[method].title,
          verdict,
          short(cosine),
          short(relative_update),
          normalised_update.toExponential(2),
          factLine({ prompt, subject }, target_new),
        ],
      ),
  );
}

function cell(
  value: number | undefined,
  interval: readonly [number, number] | undefined,
  digits: number,
): string {
  if (value === undefined) return '';
  const range = interval ? ` [${interval[0].toFixed(digits)}, ${interval[1].toFixed(digits)}]` : '';
  return value.toFixed(digits) + range;
}
