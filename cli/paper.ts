/** `palimpsest paper`: the paper's whole study on one model, and its report; with --sequel that of many facts. */
import { resolve } from 'node:path';
import * as v from 'valibot';
import { readFacts } from '../src/data/read.ts';
import { MASS_METHODS } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { hashOf, openRun } from '../src/io/run.ts';
import type { OpenRun } from '../src/io/run.ts';
import { PAPER_PLAN, runPaper } from '../src/lab/paper.ts';
import type { PaperPlan } from '../src/lab/paper.ts';
import type { Writing } from '../src/edit/writing.ts';
import { makeReport } from '../src/lab/report/page.ts';
import type { Study } from '../src/lab/report/study.ts';
import { SEQUENCE_HEAD, SEQUENCE_LINE } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine } from '../src/lab/sequence.ts';
import { SEQUEL_PLAN } from '../src/lab/sequel-plan.ts';
import type { SequelPlan } from '../src/lab/sequel-plan.ts';
import { runSequel } from '../src/lab/sequel.ts';
import type { SequelLine, SequelProgress } from '../src/lab/sequel.ts';
import { command } from './commands.ts';
import type { Report, Run } from './commands.ts';
import { readData } from '../src/io/file.ts';
import { FOLDERS } from './files.ts';
import { EDIT_FLAGS, FROM_0, FROM_1, MODEL_FLAGS, flag, folder, input, number, or, text } from './flags.ts';
import { factsFrom, followed, layerSolvers, readTasks, runMode, settingsOf, withLab } from './lab.ts';
import type { LabArguments } from './lab.ts';
import { groupsFrom, massSettings, massWriting, sampledGroups } from './mass-options.ts';
import { reportTimings } from './session.ts';
import type { Session } from './session.ts';
import { Steps } from './terminal.ts';
import type { Terminal } from './terminal.ts';
import { duration } from '../src/numerals.ts';

/** Numbers of the plan: the flag of each, what it says, and the least that it takes. */
const SIZES = {
  records: ['records', 'single edits', 1],
  edits: ['count', 'edits of each sequence', 1],
  every: ['every', 'edits between two measurements', 1],
  textTokens: ['text-tokens', 'tokens of a generated text, its prompt included', 0],
  perClass: ['per-class', 'examples of each class of a downstream task', 1],
  styled: ['styled', 'facts edited in other words', 0],
  traced: ['traced', 'facts traced', 0],
  swept: ['swept', 'facts edited at each layer', 0],
} as const;
type SizeName = keyof typeof SIZES;
const SIZE_NAMES = Object.keys(SIZES) as SizeName[];

const SIZE_FLAGS = Object.fromEntries(
  SIZE_NAMES.map((name) => {
    const [flag, says, min] = SIZES[name];
    return [flag, number(`${says} [default: ${PAPER_PLAN[name]}]`, { integer: true, min })];
  }),
) as Record<(typeof SIZES)[SizeName][0], ReturnType<typeof number>>;

/** As in ENCORE (arXiv 2502.01636), whose study of many facts this follows: a search ends when every context says the target. */
const SEQUEL_STOP = 'probable';

const SEQUEL_ONLY = ['sizes', 'batch', 'judged', 'anchored'];

export const paper = command({
  flags: (yargs) =>
    yargs
      .options({
        out: or('paper', folder('folder of the report', FOLDERS.study)),
        data: input('records to edit [default: CounterFact; without --sequel 100 of it, shuffled]'),
        resume: flag('go on with what is in the folder'),
        sequel: flag('many facts instead: r-ROME one by one, MEMIT, EMMET, ENCORE, AlphaEdit'),
        sizes: text(`with --sequel: numbers of facts [default: ${SEQUEL_PLAN.sizes.join()}]`),
        batch: number(`with --sequel: facts of a batch [default: ${SEQUEL_PLAN.batch}]`, FROM_1),
        judged: number('with --sequel: facts asked at most [default: all]', FROM_1),
        anchored: number(
          `with --sequel: the most facts that are anchored one by one or in batches, too [default: ${SEQUEL_PLAN.anchored}]`,
          FROM_0,
        ),
      })
      .options(EDIT_FLAGS)
      .describe('method', 'how the updates are made [default: all]')
      .options(MODEL_FLAGS)
      .options(SIZE_FLAGS),
  run: async (args, run) => {
    checkFlags(args);
    if (args.sequel) return runSequelStudy({ ...args, stop: args.stop ?? SEQUEL_STOP }, run);
    const { out } = args;
    const { terminal, signal } = run;
    const data = await readData('--data', args.data, 'counterfact-100.json');
    const facts = readFacts(data.text, data.name);
    const corpus = await readData('--data', undefined, 'wikitext.txt');
    const texts = corpus.text.split('\n').filter((line) => line.trim() !== '');
    const plan = planOf(args);
    for (const method of plan.methods) await run.files.fills('--out', resolve(out, method), FOLDERS.run);
    const examples = await readTasks(plan.tasks);
    return withLab(args, run, async ({ session, edit, covariance }) => {
      const { model, timed, timings } = session;
      const steps = new Steps(terminal);
      const start = performance.now();
      const layers = Array.from({ length: model.dims.layers }, (_, i) => i);
      const input = {
        facts,
        documents: followed(model, corpus.text),
        examples,
        edit,
        solverAt: layerSolvers(session, texts, layers, signal),
        journalOf: async (method: string, settings: SequenceHead['settings']) => {
          const folder = resolve(out, method);
          const schemas = { head: SEQUENCE_HEAD, line: SEQUENCE_LINE };
          const journal = await openRun<SequenceHead, SequenceLine>(folder, {
            mode: runMode(args, run),
            ...schemas,
          });
          session.atEnd(() => void journal.close());
          journal.check(settings);
          return journal;
        },
        onProgress: steps.at,
        signal,
      };
      const result = await timed('study', () => runPaper(model, input, plan).finally(steps.end));
      const minutes = (performance.now() - start) / 60_000;
      const { adapter, model: loaded } = session.about;
      const { D, layers: depth } = model.dims;
      const study: Study = {
        title: `Rebuilding ROME on the model “${model.id}”`,
        about: [
          ['model', `${model.id}, ${depth} layers, width ${D}; sha256 ${loaded.sha256.slice(0, 16)}`],
          ['edit layer', `${edit.layer}; ${covariance}`],
          [
            'records',
            `${data.name}, the first ${plan.records} as single edits, the first ${plan.edits} in sequence`,
          ],
          ['contexts', `${edit.contexts.length} templates, seed ${plan.seed}`],
          ['adapter', `${adapter.description}${adapter.kind === 'software' ? ' (software)' : ''}`],
          ['time', `${minutes.toFixed(1)} minutes`],
        ],
        command: commandOf(plan, args),
        ...result,
      };
      await writeStudy(study, out, session, terminal);
      reportTimings(session, run);
      const { evaluation: _, sequences, ...rest } = result;
      const last = sequences?.map(({ method, lines }) => ({ method, ...lines.at(-1) }));
      return {
        ...session.about,
        result: { report: resolve(out, 'report.html'), sequences: last, ...rest },
        timings_ms: timings,
      };
    });
  },
});

async function writeStudy(study: Study, out: string, { timed }: Session, terminal: Terminal): Promise<void> {
  const files = await timed('report', () => makeReport(study));
  await timed('write', async () => {
    await writeAtomic(resolve(out, 'study.json'), `${JSON.stringify(study)}\n`);
    for (const [name, content] of files) await writeAtomic(resolve(out, name), content);
  });
  terminal.say(`Wrote ${resolve(out, 'report.html')}: open it in a browser.`);
}

/** @throws UsageError for a flag that this study does not look at */
function checkFlags(args: Readonly<Record<string, unknown>> & { readonly sequel: boolean }): void {
  const others = args.sequel ? [...Object.keys(SIZE_FLAGS), 'method'] : SEQUEL_ONLY;
  const found = others.find((name) => args[name] !== undefined);
  if (found !== undefined)
    throw new UsageError(
      `--${found}: expected it ${args.sequel ? 'without' : 'with'} --sequel. See palimpsest paper --help.`,
    );
}

interface SequelArguments extends LabArguments {
  readonly out: string;
  readonly resume: boolean;
  readonly sizes?: string | undefined;
  readonly batch?: number | undefined;
  readonly judged?: number | undefined;
  readonly anchored?: number | undefined;
}

/** @throws UsageError for sizes that are no list of numbers, or more facts than there are */
function sequelPlanOf(args: SequelArguments, facts: number): SequelPlan {
  const { sizes: words, judged } = args;
  const { batch = SEQUEL_PLAN.batch, anchored = SEQUEL_PLAN.anchored } = args;
  const sizes = words?.split(',').map((word) => (/^\s*\d+\s*$/.test(word) ? Number(word) : NaN)) ?? [
    ...SEQUEL_PLAN.sizes,
  ];
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
  const given = await groupsFrom(args);
  const out = resolve(args.out, 'sequel');
  await run.files.fills('--out', out, FOLDERS.run);
  return withLab(args, run, async (lab) => {
    const { session, edit, covariance: title } = lab;
    const { model, timed, timings } = session;
    const contexts = given ?? (await sampledGroups(session, run, lab.seed));
    const covariance = args.covariance === undefined ? undefined : [args.covariance];
    const mass = [];
    for (const method of MASS_METHODS)
      mass.push(await massWriting(session, { ...args, method, covariance }, method, [edit.layer]));
    const writings: Writing[] = [
      ...mass.map((one) => ({ ...one, contexts })),
      { kind: 'single', method: 'r-rome', edit: { ...edit, contexts: contexts.flat() } },
    ];
    const settings = {
      ...settingsOf(lab, args, name),
      contexts,
      methods: Object.fromEntries(mass.map((one) => [one.method, massSettings(one)])),
      value: mass[0]?.value,
      facts: hashOf(facts),
      batch: plan.batch,
      judged: plan.judged ?? 'all',
      // What the length of norm anchoring is the mean of.
      calibrated: Math.min(plan.calibrated, plan.sizes.at(-1) ?? 0),
    };
    const journalOf = async <Line>(part: string): Promise<OpenRun<SequelHead, Line>> => {
      const schemas = { head: v.looseObject({}), line: v.looseObject({}), nonFinite: 'object' as const };
      const journal = await openRun<SequelHead, Line>(resolve(out, part), {
        mode: runMode(args, run),
        ...schemas,
      });
      session.atEnd(() => void journal.close());
      journal.check(settings);
      if (!journal.head) await journal.begin({ settings });
      return journal;
    };
    const steps = new Steps(terminal);
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
    const { adapter } = session.about;
    const study: Study = {
      title: `Many facts in the model “${model.id}”`,
      about: [
        ['edit layer', `${edit.layer}; ${title}`],
        ['records', `the first ${plan.sizes.at(-1)?.toLocaleString('en')} of ${name}`],
        ['batches', `of ${plan.batch}, where they come one after another`],
        ['contexts', `${contexts.flat().length} templates, for all methods`],
        ['adapter', `${adapter.description}${adapter.kind === 'software' ? ' (software)' : ''}`],
        [
          'time',
          `${((performance.now() - start) / 60_000).toFixed(1)} minutes, what was there already not counted`,
        ],
      ],
      command: sequelCommandOf(plan, args),
      sequel,
    };
    await writeStudy(study, args.out, session, terminal);
    reportTimings(session, run);
    return {
      ...session.about,
      result: { report: resolve(args.out, 'report.html'), sequel },
      timings_ms: timings,
    };
  });
}

function sequelCommandOf({ sizes, batch, judged, anchored }: SequelPlan, args: SequelArguments): string {
  const { model, data } = args;
  const words = { data, model, sizes: sizes.join(), batch, judged, anchored, stop: args.stop };
  const given = Object.entries(words).filter(([, value]) => value !== undefined);
  return ['palimpsest paper --sequel', ...given.map(([flag, value]) => `--${flag} ${value}`)].join(' ');
}

interface SequelHead {
  readonly settings: Readonly<Record<string, unknown>>;
}

interface PaperArguments extends Readonly<Record<string, unknown>> {
  readonly method?: PaperPlan['methods'][number] | 'all' | undefined;
  readonly seed?: number | undefined;
  readonly out?: string | undefined;
  readonly model?: string | undefined;
}

function planOf(args: PaperArguments): PaperPlan {
  const { method = 'all', seed = PAPER_PLAN.seed } = args;
  const sizes = SIZE_NAMES.map((name) => [name, args[SIZES[name][0]] ?? PAPER_PLAN[name]] as const);
  const methods = method === 'all' ? PAPER_PLAN.methods : [method];
  return { ...PAPER_PLAN, ...Object.fromEntries(sizes), methods, seed };
}

/** The command that does it again. */
function commandOf(plan: PaperPlan, { method, model, out }: PaperArguments): string {
  const given = Object.entries({ method, model, out }).filter(([, value]) => value !== undefined);
  const sizes = ([...SIZE_NAMES, 'seed'] as const)
    .filter((name) => plan[name] !== PAPER_PLAN[name])
    .map((name) => [name === 'seed' ? name : SIZES[name][0], plan[name]]);
  return ['palimpsest paper', ...[...given, ...sizes].map(([flag, value]) => `--${flag} ${value}`)].join(' ');
}
