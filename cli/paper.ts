/** `palimpsest paper`: the paper's whole study on one model, and its report. */
import { resolve } from 'node:path';
import { readFacts } from '../src/data/read.ts';
import { readLabelled } from '../src/data/labelled.ts';
import type { Labelled } from '../src/data/labelled.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openJournal } from '../src/io/journal.ts';
import type { TaskName } from '../src/lab/downstream-tasks.ts';
import { PAPER_PLAN, runPaper } from '../src/lab/paper.ts';
import type { PaperPlan } from '../src/lab/paper.ts';
import { heldOut } from '../src/lab/perplexity.ts';
import { makeReport } from '../src/lab/report/page.ts';
import type { Study } from '../src/lab/report/study.ts';
import type { SequenceHead, SequenceJournal, SequenceLine } from '../src/lab/sequence.ts';
import { command } from './command.ts';
import { readData } from './files.ts';
import { chooseSolver, contextsFrom, layerFrom, sampledContexts, valueOptionsFrom } from './edit-options.ts';
import { EDIT_FLAGS, MODEL_FLAGS, number, text } from './flags.ts';
import { layerSolvers } from './layer-solvers.ts';
import { introduce, reportTimings, withSession } from './session.ts';
import type { Progress, Terminal } from './terminal.ts';

/** Documents whose perplexity is followed. */
const HELD_OUT = 12;
const COUNT = { integer: true, min: 0 };

export const paper = command({
  flags: (yargs) =>
    yargs
      .options({
        out: text('--out', 'folder of the report [default: paper]'),
        data: text('--data', 'records to edit [default: 100 of CounterFact, shuffled]'),
        records: number('--records', `single edits [default: ${PAPER_PLAN.records}]`, {
          integer: true,
          min: 1,
        }),
        count: number('--count', `edits of each sequence [default: ${PAPER_PLAN.edits}]`, {
          integer: true,
          min: 1,
        }),
        every: number('--every', `edits between two measurements [default: ${PAPER_PLAN.every}]`, {
          integer: true,
          min: 1,
        }),
        'text-tokens': number(
          '--text-tokens',
          `tokens of a generated text, its prompt included [default: ${PAPER_PLAN.textTokens}]`,
          COUNT,
        ),
        'per-class': number(
          '--per-class',
          `examples of each class of a downstream task [default: ${PAPER_PLAN.perClass}]`,
          { integer: true, min: 1 },
        ),
        styled: number('--styled', `facts edited in other words [default: ${PAPER_PLAN.styled}]`, COUNT),
        traced: number('--traced', `facts traced [default: ${PAPER_PLAN.traced}]`, COUNT),
        swept: number('--swept', `facts edited at each layer [default: ${PAPER_PLAN.swept}]`, COUNT),
        resume: { type: 'boolean', default: false, describe: 'go on with sequences that are in the folder' },
      })
      .options(EDIT_FLAGS)
      .options(MODEL_FLAGS),
  run: async (args, run) => {
    const out = args.out ?? 'paper';
    const data = await readData('--data', args.data, 'counterfact-100.json');
    const facts = readFacts(data.text, data.name);
    const texts = (await readData('--data', undefined, 'wikitext.txt')).text
      .split('\n')
      .filter((line) => line.trim() !== '');
    const plan = planOf(args);
    const examples = await readExamples(plan.tasks);
    const given = await contextsFrom(args);
    return withSession(
      args,
      run,
      async (session) => {
        const { model, found, timed, timings } = session;
        const { terminal, signal } = run;
        const layer = layerFrom(args, model.id, model.dims.layers, found.entry);
        model.checkLayer('edit', layer);
        const { solver, title } = await timed('covariance', () =>
          chooseSolver(session, layer, args.covariance),
        );
        introduce(session, run, title);
        const contexts = given ?? (await sampledContexts(session, run, plan.seed));
        const layers = Array.from({ length: model.dims.layers }, (_, i) => i);
        const steps = new Steps(terminal);
        const start = performance.now();
        const result = await timed('study', () =>
          runPaper(
            model,
            {
              facts,
              documents: heldOut(model, texts.slice(0, HELD_OUT)),
              examples,
              edit: { ...valueOptionsFrom(args, found.entry), layer, contexts, solver },
              solverAt: layerSolvers(session, texts, layers, signal),
              journalOf: (method) => fileJournal(resolve(out, method), args.resume, session.atEnd),
            },
            plan,
            { onProgress: (step, done, total) => steps.at(step, done, total), signal },
          ),
        );
        steps.end();
        const minutes = (performance.now() - start) / 60_000;
        const { adapter, model: loaded } = session.about;
        const study: Study = {
          title: `Rebuilding ROME on the model “${model.id}”`,
          about: [
            [
              'model',
              `${model.id}, ${model.dims.layers} layers, width ${model.dims.D}; sha256 ${loaded.sha256.slice(0, 16)}`,
            ],
            ['edit layer', `${layer}; ${title}`],
            [
              'records',
              `${data.name}, the first ${plan.records} as single edits, the first ${plan.edits} in sequence`,
            ],
            ['contexts', `${contexts.length} templates, seed ${plan.seed}`],
            ['adapter', `${adapter.description}${adapter.kind === 'software' ? ' (software)' : ''}`],
            ['time', `${minutes.toFixed(1)} minutes`],
          ],
          command: commandOf(plan, args.out, args.model),
          ...result,
        };
        const files = await timed('report', () => makeReport(study));
        await timed('write', async () => {
          await writeText(resolve(out, 'study.json'), `${JSON.stringify(study)}\n`);
          for (const [name, content] of files) await writeText(resolve(out, name), content);
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
      },
      { layer: ({ id, architecture }, entry) => layerFrom(args, id, architecture.dims.layers, entry) },
    );
  },
});

interface PaperArguments {
  readonly method?: PaperPlan['methods'][number] | 'all' | undefined;
  readonly records?: number | undefined;
  readonly count?: number | undefined;
  readonly every?: number | undefined;
  readonly textTokens?: number | undefined;
  readonly perClass?: number | undefined;
  readonly styled?: number | undefined;
  readonly traced?: number | undefined;
  readonly swept?: number | undefined;
  readonly seed?: number | undefined;
}

function planOf(args: PaperArguments): PaperPlan {
  const { method = 'all', records, count, every, textTokens, perClass, styled, traced, swept, seed } = args;
  const given = { records, edits: count, every, textTokens, perClass, styled, traced, swept, seed };
  return {
    ...PAPER_PLAN,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(method === 'all' ? {} : { methods: [method] }),
  };
}

/** The command that does it again. */
function commandOf(plan: PaperPlan, out?: string, model?: string): string {
  const flags = Object.entries({
    records: 'records',
    edits: 'count',
    every: 'every',
    textTokens: 'text-tokens',
    perClass: 'per-class',
    styled: 'styled',
    traced: 'traced',
    swept: 'swept',
    seed: 'seed',
  } as const)
    .filter(([name]) => plan[name as keyof PaperPlan] !== PAPER_PLAN[name as keyof PaperPlan])
    .map(([name, flag]) => ` --${flag} ${String(plan[name as keyof PaperPlan])}`);
  return `palimpsest paper${model === undefined ? '' : ` --model ${model}`}${out === undefined ? '' : ` --out ${out}`}${flags.join('')}`;
}

async function readExamples(tasks: readonly TaskName[]): Promise<Map<TaskName, readonly Labelled[]>> {
  const examples = new Map<TaskName, readonly Labelled[]>();
  for (const task of tasks) {
    const { text: content, name } = await readData('--data', undefined, `glue/${task}.json`);
    examples.set(task, readLabelled(content, name));
  }
  return examples;
}

async function fileJournal(
  folder: string,
  resume: boolean,
  atEnd: (close: () => void) => void,
): Promise<SequenceJournal> {
  const journal = await openJournal<SequenceHead, SequenceLine>(folder, resume).catch((error: unknown) => {
    if (error instanceof UsageError && error.code === 'run_exists')
      throw new UsageError(
        `${folder}: holds a sequence already. Go on with it by --resume, or choose another folder with --out.`,
        error.code,
      );
    throw error;
  });
  atEnd(() => void journal.close());
  return journal;
}

async function writeText(path: string, content: string): Promise<void> {
  await writeAtomic(path, content);
}

/** One bar a step. */
class Steps {
  readonly #terminal: Terminal;
  #step = '';
  #bar: Progress | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  at(step: string, done: number, total: number): void {
    if (step !== this.#step) {
      this.end();
      this.#step = step;
      this.#bar = this.#terminal.progress(step);
    }
    this.#bar?.update(done, total);
  }

  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
