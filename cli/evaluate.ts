/** `palimpsest evaluate`: single edits over a data set, each taken back bit for bit. */
import { readFile } from 'node:fs/promises';
import type { Fact } from '../src/data/fact.ts';
import type { Method } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { evaluate as evaluateFacts } from '../src/lab/evaluate.ts';
import type { CaseResult, EvaluateOptions } from '../src/lab/evaluate.ts';
import { dangerousEdits, summariseBefore, summariseMethod } from '../src/lab/summary.ts';
import type { MethodSummary } from '../src/lab/summary.ts';
import { inverseFrequencies } from '../src/lab/texts.ts';
import { command } from './command.ts';
import type { Report, Run } from './command.ts';
import { methodsFrom } from './edit-options.ts';
import { showDangerous, showSummaries } from './evaluate-view.ts';
import { EDIT_FLAGS, MODEL_FLAGS, text } from './flags.ts';
import { DATA, LAB_FLAGS, factsFrom, withLab } from './lab.ts';
import type { LabArguments } from './lab.ts';
import { reportTimings } from './session.ts';

interface EvaluateCommand extends LabArguments {
  readonly findDisabling: boolean;
  readonly references?: string | undefined;
}

export const evaluate = command({
  flags: (yargs) =>
    yargs
      .positional('data', DATA)
      .options(LAB_FLAGS)
      .options({
        'find-disabling': {
          type: 'boolean',
          default: false,
          describe: 'only list the edits that would disable the model',
        },
        references: text('--references', 'attribute_snippets.json of ROME: texts for consistency (RS)'),
      })
      .options(EDIT_FLAGS)
      .options(MODEL_FLAGS)
      .example('$0 evaluate --method all --count 40', 'the three methods on the first 40 facts'),
  run: async (args: EvaluateCommand, run) => runEvaluate(args, run),
});

async function runEvaluate(args: EvaluateCommand, run: Run): Promise<Report> {
  const methods = methodsFrom(args);
  const { facts, name } = await factsFrom(args);
  const references = await referencesFrom(args.references);
  return withLab(args, run, async ({ session, edit, thresholds, seed }) => {
    const { model, timed, timings, about } = session;
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
          textTokens: args.textTokens ?? 100,
          ...(references ? { references } : {}),
          onCase: (_, done, total) => bar.update(done, total),
          signal: run.signal,
        }),
      );
    } finally {
      bar.stop();
    }
    const result = resultOf(cases, methods, seed, args.findDisabling);
    run.terminal.heading(`${facts.length} of ${name}, each on the unedited model`);
    if (!args.findDisabling)
      showSummaries(run.terminal, [
        summariseBefore(cases, seed),
        ...methods.map((method) => summariseMethod(cases, method, seed)),
      ]);
    showDangerous(run.terminal, dangerousEdits(cases));
    reportTimings(session, run);
    return { ...about, result, timings_ms: timings };
  });
}

/** One method as `cli.md` has it; several under `methods`, each of that form. */
function resultOf(
  cases: readonly CaseResult[],
  methods: readonly Method[],
  seed: number,
  listOnly: boolean,
): unknown {
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

/** ROME's file of texts about the objects: relation, then object, then texts. */
async function referencesFrom(path: string | undefined): Promise<EvaluateOptions['references']> {
  if (path === undefined) return undefined;
  const fault = (found: string): UsageError =>
    new UsageError(`--references ${path}: expected {relation: {object: [{"text"}]}}, found ${found}.`);
  const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw fault(`a file that cannot be read (${error.code})`);
  });
  let all: Record<string, Record<string, { text?: string }[]>>;
  try {
    all = JSON.parse(content) as typeof all;
    const documents = Object.values(all).flatMap((objects) =>
      Object.values(objects).map((list) => list.map(({ text: one = '' }) => one).join(' ')),
    );
    const idf = inverseFrequencies(documents);
    const of = ({ relationId, targetNewId }: Fact): string[] =>
      (all[relationId ?? '']?.[targetNewId ?? ''] ?? []).flatMap(({ text: one }) => one ?? []);
    return { idf, of };
  } catch (error) {
    throw fault(String(error));
  }
}
