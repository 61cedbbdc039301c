/** `palimpsest paper`: the paper's whole study on one model, and its report; with --sequel that of many facts. */
import { resolve } from 'node:path';
import * as v from 'valibot';
import { readFacts } from '../src/data/read.ts';
import { parseContextGroups } from '../src/edit/contexts.ts';
import { MASS_METHODS } from '../src/edit/method.ts';
import type { Writing } from '../src/edit/writing.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { readData } from '../src/io/file.ts';
import { hashOf, openRun, type OpenRun } from '../src/io/run.ts';
import { PAPER_PLAN, runPaper, type PaperPlan } from '../src/lab/paper.ts';
import type { Study } from '../src/lab/report/study.ts';
import { SEQUEL_PLAN, type SequelPlan } from '../src/lab/sequel-plan.ts';
import { runSequel, type SequelLine, type SequelProgress } from '../src/lab/sequel.ts';
import { SEQUENCE_HEAD, SEQUENCE_LINE, type SequenceHead, type SequenceLine } from '../src/lab/sequence.ts';
import { duration } from '../src/numerals.ts';
import { command, type Report, type Run } from './commands.ts';
import { layerSolvers } from './covariance-build.ts';
import { contextsFrom, numbersOf, said, withEditing } from './edit-options.ts';
import { FOLDERS } from './files.ts';
import { EDIT_FLAGS, MODEL_FLAGS, flag, folder, input, or, text, whole, type Given } from './flags.ts';
import { documentsOf, factsFrom, followed, readTasks, settingsOf, writeReport } from './lab.ts';
import type { LabArguments } from './lab.ts';
import { massSettings, massWriting, sampledGroups } from './mass-options.ts';
import type { Session } from './session.ts';
import { stepsOn } from './terminal.ts';

const SIZE_FLAGS = {
  records: whole(`single edits [default: ${PAPER_PLAN.records}]`, 1),
  count: whole(`edits of each sequence [default: ${PAPER_PLAN.edits}]`, 1),
  every: whole(`edits between two measurements [default: ${PAPER_PLAN.every}]`, 1),
  'text-tokens': whole(`tokens of a generated text, prompt included [default: ${PAPER_PLAN.textTokens}]`, 0),
  'per-class': whole(`examples of each class of a task [default: ${PAPER_PLAN.perClass}]`, 1),
  styled: whole(`facts edited in other words [default: ${PAPER_PLAN.styled}]`, 0),
  traced: whole(`facts traced [default: ${PAPER_PLAN.traced}]`, 0),
  swept: whole(`facts edited at each layer [default: ${PAPER_PLAN.swept}]`, 0),
} as const;

const SEQUEL_FLAGS = {
  sizes: text(`with --sequel: numbers of facts [default: ${SEQUEL_PLAN.sizes.join()}]`),
  batch: whole(`with --sequel: facts of a batch [default: ${SEQUEL_PLAN.batch}]`, 1),
  judged: whole('with --sequel: facts asked at most [default: all]', 1),
  anchored: whole(
    `with --sequel: the most facts that are anchored one by one or in batches, too [default: ${SEQUEL_PLAN.anchored}]`,
    0,
  ),
} as const;

type SequelArguments = LabArguments & Given<typeof SEQUEL_FLAGS> & { readonly out: string };

/** As in ENCORE (arXiv 2502.01636), whose study of many facts this follows: a search ends when every context says the target. */
const SEQUEL_STOP = 'probable';

export const paper = command({
  flags: {
    out: or('paper', folder('folder of the report', FOLDERS.study)),
    data: input('records to edit [default: CounterFact; without --sequel 100 of it, shuffled]'),
    resume: flag('go on with what is in the folder'),
    sequel: flag('many facts instead: r-ROME one by one, MEMIT, EMMET, ENCORE, AlphaEdit'),
    ...SEQUEL_FLAGS,
    ...EDIT_FLAGS,
    method: { ...EDIT_FLAGS.method, describe: 'how the updates are made [default: all]' },
    ...MODEL_FLAGS,
    ...SIZE_FLAGS,
  },
  run: async (args, run) => {
    checkFlags(args);
    if (args.sequel) return runSequelStudy({ ...args, stop: args.stop ?? SEQUEL_STOP }, run);
    const { out } = args;
    const { terminal, signal } = run;
    const data = await readData('--data', args.data, 'counterfact-100.json');
    const facts = readFacts(data.text, data.name);
    const corpus = await readData('--data', undefined, 'wikitext.txt');
    const plan = planOf(args);
    for (const method of plan.methods) await run.files.fills('--out', resolve(out, method), FOLDERS.run);
    const examples = await readTasks(plan.tasks);
    return withEditing(args, run, async (session) => {
      const { model, timed, edit, solverTitle } = session;
      const steps = stepsOn(terminal);
      const start = performance.now();
      const layers = Array.from({ length: model.dims.layers }, (_, i) => i);
      const input = {
        facts,
        documents: followed(model, corpus.text),
        examples,
        edit,
        solverAt: layerSolvers(session, documentsOf(corpus.text), layers),
        journalOf: async (method: string, settings: Head['settings']) => {
          const format = { mode: run.files.runMode, head: SEQUENCE_HEAD, line: SEQUENCE_LINE };
          const journal = await openRun<SequenceHead, SequenceLine>(resolve(out, method), format);
          session.atEnd(() => void journal.close());
          journal.check(settings);
          return journal;
        },
        onProgress: steps.at,
        signal,
      };
      const result = await timed('study', () => runPaper(model, input, plan).finally(steps.end));
      const minutes = (performance.now() - start) / 60_000;
      const flags = ['method', 'model', 'data', 'out', ...Object.keys(SIZE_FLAGS), 'seed'];
      const study: Study = {
        title: `Rebuilding ROME on the model “${model.id}”`,
        about: [
          ['edit layer', `${edit.layer}; ${solverTitle}`],
          [
            'records',
            `${data.name}, the first ${plan.records} as single edits, the first ${plan.edits} in sequence`,
          ],
          ['contexts', `${edit.contexts.length} templates, seed ${plan.seed}`],
          ['time', `${minutes.toFixed(1)} minutes`],
        ],
        command: commandOf('palimpsest paper', flags, args),
        ...result,
      };
      const report = await writeStudy(study, out, session);
      const { evaluation: _, sequences, ...rest } = result;
      const last = sequences?.map(({ method, lines }) => ({ method, ...lines.at(-1) }));
      return session.report({ report, sequences: last, ...rest });
    });
  },
});

type Head = Pick<SequenceHead, 'settings'>;

/** @returns where the report is */
async function writeStudy(study: Study, out: string, session: Session): Promise<string> {
  const whole = await writeReport(out, session, study);
  await writeAtomic(resolve(out, 'study.json'), `${JSON.stringify(whole)}\n`);
  const report = resolve(out, 'report.html');
  session.terminal.say(`Wrote ${report}: open it in a browser.`);
  return report;
}

/** @throws UsageError for a flag that this study does not look at */
function checkFlags(args: Readonly<Record<string, unknown>> & { readonly sequel: boolean }): void {
  const others = args.sequel ? ['method', ...Object.keys(SIZE_FLAGS)] : Object.keys(SEQUEL_FLAGS);
  const found = others.find((name) => args[name] !== undefined);
  if (found !== undefined)
    throw new UsageError(
      `--${found}: expected it ${args.sequel ? 'without' : 'with'} --sequel. See palimpsest paper --help.`,
    );
}

/** @throws UsageError for sizes that are no list of numbers, or more facts than there are */
function sequelPlanOf(args: SequelArguments, facts: number): SequelPlan {
  const { sizes: words, judged } = args;
  const { batch = SEQUEL_PLAN.batch, anchored = SEQUEL_PLAN.anchored } = args;
  const sizes = words === undefined ? [...SEQUEL_PLAN.sizes] : numbersOf(words);
  if (sizes.some((n) => !(n >= 1 && n <= facts)))
    throw new UsageError(
      `--sizes: expected whole numbers from 1 to ${facts.toLocaleString('en')}, the records there are, with commas between, found "${sizes.join()}".`,
    );
  return { ...SEQUEL_PLAN, sizes: sizes.sort((a, b) => a - b), batch, judged, anchored };
}

/** `paper --sequel`: many facts by every method at the edit layer, with C and contexts that all share. */
async function runSequelStudy(args: SequelArguments, run: Run): Promise<Report> {
  const { terminal, signal } = run;
  const { facts, name } = await factsFrom(args);
  const plan = sequelPlanOf(args, facts.length);
  const corpus = await readData('--data', undefined, 'wikitext.txt');
  const given = await contextsFrom(args, parseContextGroups);
  const out = resolve(args.out, 'sequel');
  await run.files.fills('--out', out, FOLDERS.run);
  return withEditing(args, run, async (session) => {
    const { model, timed, edit, solverTitle } = session;
    const contexts = given ?? (await sampledGroups(session, session.seed));
    const covariance = args.covariance === undefined ? undefined : [args.covariance];
    const mass = [];
    for (const method of MASS_METHODS)
      mass.push(await massWriting(session, { ...args, method, covariance }, method, [edit.layer]));
    const writings: Writing[] = [
      ...mass.map((one) => ({ ...one, contexts })),
      { kind: 'single', method: 'r-rome', edit: { ...edit, contexts: contexts.flat() } },
    ];
    const settings = {
      ...settingsOf(session, args, name),
      contexts,
      methods: Object.fromEntries(mass.map((one) => [one.method, massSettings(one)])),
      value: mass[0]?.value,
      facts: hashOf(facts),
      batch: plan.batch,
      judged: plan.judged ?? 'all',
      // What the length of norm anchoring is the mean of.
      calibrated: Math.min(plan.calibrated, plan.sizes.at(-1) ?? 0),
    };
    const journalOf = async <Line>(part: string): Promise<OpenRun<Head, Line>> => {
      const any = { head: v.looseObject({}), line: v.looseObject({}), nonFinite: 'object' } as const;
      const mode = run.files.runMode;
      const journal = await openRun<Head, Line>(resolve(out, part), { mode, ...any });
      session.atEnd(() => void journal.close());
      journal.check(settings);
      if (!journal.head) await journal.begin({ settings });
      return journal;
    };
    const steps = stepsOn(terminal);
    const start = performance.now();
    const onProgress = ({ step, done, total, share, begun }: SequelProgress): void => {
      const seconds = (performance.now() - start) / 1000;
      const left = share > begun ? `, ${duration((seconds * (1 - share)) / (share - begun))} left` : '';
      steps.at(step, done, total, ` (${Math.floor(100 * share)} % of the study${left})`);
    };
    const results = await journalOf<SequelLine>('results');
    const documents = followed(model, corpus.text);
    const input = { facts, documents, writings, results, journalOf, onProgress, signal };
    const sequel = await timed('study', () => runSequel(model, input, plan).finally(steps.end));
    const flags = ['data', 'model', ...Object.keys(SEQUEL_FLAGS), 'stop'];
    const study: Study = {
      title: `Many facts in the model “${model.id}”`,
      about: [
        ['edit layer', `${edit.layer}; ${solverTitle}`],
        ['records', `the first ${plan.sizes.at(-1)?.toLocaleString('en')} of ${name}`],
        ['batches', `of ${plan.batch}, where they come one after another`],
        ['contexts', `${contexts.flat().length} templates, for all methods`],
        [
          'time',
          `${((performance.now() - start) / 60_000).toFixed(1)} minutes, what was there already not counted`,
        ],
      ],
      command: commandOf('palimpsest paper --sequel', flags, { ...args, ...plan }),
      sequel,
    };
    const report = await writeStudy(study, args.out, session);
    return session.report({ report, sequel });
  });
}

function planOf(args: Pick<LabArguments, 'method' | 'seed'> & Given<typeof SIZE_FLAGS>): PaperPlan {
  const { method = 'all', records, count: edits, every, textTokens, perClass } = args;
  const { styled, traced, swept, seed } = args;
  const sizes = said({ records, edits, every, textTokens, perClass, styled, traced, swept, seed });
  return { ...PAPER_PLAN, ...sizes, methods: method === 'all' ? PAPER_PLAN.methods : [method] };
}

function commandOf(name: string, flags: readonly string[], args: Readonly<Record<string, unknown>>): string {
  const given = flags.filter((flag) => args[flag] !== undefined);
  return [name, ...given.map((flag) => `--${flag} ${String(args[flag])}`)].join(' ');
}
