/** `palimpsest paper`: the paper's whole study on one model, and its report. */
import { resolve } from 'node:path';
import { readFacts } from '../src/data/read.ts';
import { readLabelled } from '../src/data/labelled.ts';
import type { Labelled } from '../src/data/labelled.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openRun } from '../src/io/run.ts';
import type { TaskName } from '../src/lab/downstream-tasks.ts';
import { PAPER_PLAN, runPaper } from '../src/lab/paper.ts';
import type { PaperPlan } from '../src/lab/paper.ts';
import { heldOut } from '../src/lab/health.ts';
import { makeReport } from '../src/lab/report/page.ts';
import type { Study } from '../src/lab/report/study.ts';
import { SEQUENCE_HEAD, SEQUENCE_LINE } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine } from '../src/lab/sequence.ts';
import { command } from './commands.ts';
import { FOLDERS, readData } from './files.ts';
import { EDIT_FLAGS, MODEL_FLAGS, folderOr, input, number } from './flags.ts';
import { layerSolvers, runMode, withLab } from './lab.ts';
import { reportTimings } from './session.ts';
import type { Progress, Terminal } from './terminal.ts';

/** Documents whose perplexity is followed. */
const HELD_OUT = 12;

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
    return [flag, number(`--${flag}`, `${says} [default: ${PAPER_PLAN[name]}]`, { integer: true, min })];
  }),
) as Record<(typeof SIZES)[SizeName][0], ReturnType<typeof number>>;

export const paper = command({
  flags: (yargs) =>
    yargs
      .options({
        out: folderOr('paper', '--out', 'folder of the report', FOLDERS.study),
        data: input('--data', 'records to edit [default: 100 of CounterFact, shuffled]'),
        resume: { type: 'boolean', default: false, describe: 'go on with sequences that are in the folder' },
      })
      .options(EDIT_FLAGS)
      .describe('method', 'how the updates are made [default: all]')
      .options(MODEL_FLAGS)
      .options(SIZE_FLAGS),
  run: async (args, run) => {
    const { out } = args;
    const { terminal, signal } = run;
    const data = await readData('--data', args.data, 'counterfact-100.json');
    const facts = readFacts(data.text, data.name);
    const corpus = await readData('--data', undefined, 'wikitext.txt');
    const texts = corpus.text.split('\n').filter((line) => line.trim() !== '');
    const plan = planOf(args);
    for (const method of plan.methods) await run.files.fills('--out', resolve(out, method), FOLDERS.run);
    const examples = await readExamples(plan.tasks);
    return withLab(args, run, async ({ session, edit, covariance }) => {
      const { model, timed, timings } = session;
      const steps = new Steps(terminal);
      const start = performance.now();
      const layers = Array.from({ length: model.dims.layers }, (_, i) => i);
      const input = {
        facts,
        documents: heldOut(model, texts.slice(0, HELD_OUT)),
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
      const files = await timed('report', () => makeReport(study));
      await timed('write', async () => {
        await writeAtomic(resolve(out, 'study.json'), `${JSON.stringify(study)}\n`);
        for (const [name, content] of files) await writeAtomic(resolve(out, name), content);
      });
      terminal.say(`Wrote ${resolve(out, 'report.html')}: open it in a browser.`);
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

async function readExamples(tasks: readonly TaskName[]): Promise<Map<TaskName, readonly Labelled[]>> {
  const examples = new Map<TaskName, readonly Labelled[]>();
  for (const task of tasks) {
    const { text: content, name } = await readData('--data', undefined, `glue/${task}.json`);
    examples.set(task, readLabelled(content, name));
  }
  return examples;
}

/** One bar a step. */
class Steps {
  readonly #terminal: Terminal;
  #step = '';
  #bar: Progress | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  readonly at = (step: string, done: number, total: number): void => {
    if (step !== this.#step) {
      this.end();
      this.#step = step;
      this.#bar = this.#terminal.progress(step);
    }
    this.#bar?.update(done, total);
  };

  readonly end = (): void => {
    this.#bar?.stop();
    this.#bar = undefined;
  };
}
