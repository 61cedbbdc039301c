/** `palimpsest trace`: which states of the model carry a fact, and which layer to edit. */
import { resolve } from 'node:path';
import { readFacts } from '../src/data/read.ts';
import type { Fact } from '../src/data/fact.ts';
import { readBracketed } from '../src/edit/request.ts';
import { UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { writeSweptLayer } from '../src/io/cache.ts';
import { NOISE_FACTOR, embeddingDeviation } from '../src/lab/trace-runs.ts';
import { makeReport } from '../src/lab/report/page.ts';
import {
  TOKEN_KINDS,
  bestLayer,
  chooseLayer,
  knownFacts,
  layerContrast,
  layersToSweep,
  recommendedLayer,
  sweepLayers,
  traceFacts,
} from '../src/lab/trace-average.ts';
import type { AverageTracing, LayerScore, SweepChoice } from '../src/lab/trace-average.ts';
import { TRACE_SITES } from '../src/lab/trace-runs.ts';
import type { TraceRequest, TraceSite } from '../src/lab/trace-runs.ts';
import { traceFact } from '../src/lab/trace.ts';
import type { TraceOptions, Tracing } from '../src/lab/trace.ts';
import { command } from './commands.ts';
import type { Run } from './commands.ts';
import { FOLDERS, readData } from './files.ts';
import { contextsFrom, sampledContexts, valueOptionsFrom } from './edit-options.ts';
import type { EditArguments } from './edit-options.ts';
import { EDIT_FLAGS, MODEL_FLAGS, folder, input, number, once } from './flags.ts';
import { layerSolvers } from './lab.ts';
import { applyNamed, introduce, reportTimings, withSession } from './session.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';
import { percent, quoted } from './text.ts';
import type { Column } from './text.ts';

/** Subjects whose embeddings say how wide the noise is, at most. */
const SUBJECTS = 1000;

export const causalTrace = command({
  flags: (yargs) =>
    yargs
      .positional('sentence', once('sentence', 'a prompt with its subject in [brackets]'))
      .positional('object', once('object', 'what the model is to recall [default: what it finds likeliest]'))
      .options({
        prompt: once('--prompt', 'a prompt with {} where the subject goes, instead of brackets'),
        subject: once('--subject', 'the subject, with --prompt'),
        facts: number('--facts', 'average over so many facts of --data that the model knows', {
          integer: true,
          min: 0,
        }),
        sweep: number('--sweep', 'edit so many facts of --data at each layer, too', {
          integer: true,
          min: 0,
        }),
        data: input('--data', 'facts, and subjects for the width of the noise [default: CounterFact]'),
        samples: number('--samples', 'corrupted runs [default: 10]', { integer: true, min: 1 }),
        window: number(
          '--window',
          'layers restored together for MLP and attention [default: 10, less in small models]',
          { integer: true, min: 1 },
        ),
        noise: number(
          '--noise',
          'deviation of the noise [default: 3 deviations of the subjects’ embeddings]',
          { min: 0 },
        ),
        out: folder('--out', 'write figures and a report to this folder', FOLDERS.report),
      })
      .options(EDIT_FLAGS)
      .options(MODEL_FLAGS)
      .example('$0 trace "The mother tongue of [Danielle Darrieux] is"', 'one fact'),
  run: async (args, run) => {
    const request = requestOf(args);
    const [many, swept] = [args.facts ?? 0, args.sweep ?? 0];
    if (!request && many === 0 && swept === 0)
      throw new UsageError(
        'trace: expected a sentence with its subject in [brackets], --facts N or --sweep N, found none of them.',
      );
    const data = await factsOf(args, many > 0 || swept > 0);
    const given = await contextsFrom(args);
    return withSession(args, run, async (session) => {
      const { model, timed, timings } = session;
      introduce(session, run);
      const contexts = swept > 0 ? (given ?? (await sampledContexts(session, run, args.seed ?? 0))) : [];
      await applyNamed(session);
      const subjects =
        data.length > 0 ? data.slice(0, SUBJECTS).map(({ subject }) => subject) : [request?.subject ?? ''];
      const noise =
        args.noise ?? NOISE_FACTOR * (await timed('noise', () => embeddingDeviation(model, subjects)));
      const options: TraceOptions = {
        noise,
        seed: args.seed ?? 0,
        signal: run.signal,
        ...(args.samples === undefined ? {} : { samples: args.samples }),
        ...(args.window === undefined ? {} : { window: args.window }),
      };
      const trace = request && (await timed('trace', () => one(session, run, request, options)));
      const average =
        many > 0 ? await timed('average', () => averageOf(session, run, data, many, options)) : undefined;
      const sweep =
        swept > 0
          ? await timed('sweep', () =>
              sweepOf(session, run, args, {
                facts: data.slice(0, swept),
                contexts,
                traced: average && recommendedLayer(average),
              }),
            )
          : undefined;
      if (args.out !== undefined) await writeFigures(args.out, session, { trace, average, sweep });
      reportTimings(session, run);
      const traced = average && recommendedLayer(average);
      const choice = sweep && chooseLayer(sweep);
      const edited = choice?.layer;
      if (choice && args.layer === undefined) await keepChoice(session, run, choice);
      if (trace && !average && !sweep)
        run.terminal.say(
          'One fact does not choose an edit layer: average over many with --facts 20, or edit at each layer with --sweep 5.',
        );
      if (traced !== undefined && edited !== undefined && traced !== edited)
        run.terminal.say(
          `Tracing points to layer ${traced}, edits work best at layer ${edited}. Go by the edits: tracing shows where a fact is recalled, which need not be where it is best written.`,
        );
      const recommended = edited ?? traced;
      const result = {
        ...trace,
        sites: TRACE_SITES,
        average,
        sweep,
        ...(recommended === undefined ? {} : { recommended_layer: recommended }),
      };
      return { ...session.about, result, timings_ms: timings };
    });
  },
});

/** Says which layer a sweep names and how sure it is, and keeps it for later edits of this model. */
async function keepChoice({ model, edits }: Session, { terminal }: Run, choice: SweepChoice): Promise<void> {
  const { layer, score, alike, n } = choice;
  const sure =
    alike.length === 0
      ? 'no other layer comes within one fact of it'
      : `${alike.length === 1 ? 'layer' : 'layers'} ${alike.join(', ')} could pass it with one fact more: a sweep of more facts would tell`;
  terminal.say(`Edits work best at layer ${layer}: score ${score.toFixed(1)} of 100 on ${n} facts; ${sure}.`);
  if (edits.length > 0) return; // of another model than that under this hash
  await writeSweptLayer(model.sha256, choice);
  terminal.say('It is kept: edits of this model take it from now on where no --layer is given.', '', 'dim');
}

interface TraceArguments extends EditArguments {
  readonly sentence?: string | undefined;
  readonly object?: string | undefined;
  readonly prompt?: string | undefined;
  readonly subject?: string | undefined;
  readonly data?: string | undefined;
}

function requestOf({ sentence, object, prompt, subject }: TraceArguments): TraceRequest | undefined {
  if (sentence !== undefined) {
    if (prompt !== undefined || subject !== undefined)
      throw new UsageError(
        'trace: expected a sentence with [brackets], or --prompt and --subject, found both.',
      );
    // The reader of edits wants a target; whether there is one is for the tracing to say.
    const read = readBracketed(sentence, object ?? 'x');
    return { prompt: read.prompt, subject: read.subject, object };
  }
  if (prompt === undefined && subject === undefined) return undefined;
  if (prompt === undefined || subject === undefined)
    throw new UsageError(
      `trace: expected --prompt and --subject, found ${prompt === undefined ? '--subject' : '--prompt'} alone.`,
    );
  return { prompt, subject, object };
}

/** Facts of --data; the project's own are optional where only a width of noise depends on them. */
async function factsOf({ data }: TraceArguments, needed: boolean): Promise<readonly Fact[]> {
  try {
    const { text: content, name } = await readData('--data', data, 'counterfact.json');
    return readFacts(content, name);
  } catch (error) {
    if (needed || data !== undefined) throw error;
    return [];
  }
}

async function one(
  { model }: Session,
  { terminal }: Run,
  request: TraceRequest,
  options: TraceOptions,
): Promise<Tracing> {
  const bar = terminal.progress('trace');
  try {
    const tracing = await traceFact(model, request, { ...options, onProgress: bar.update });
    showTracing(terminal, tracing);
    return tracing;
  } finally {
    bar.stop();
  }
}

async function averageOf(
  { model }: Session,
  { terminal }: Run,
  facts: readonly Fact[],
  many: number,
  options: TraceOptions,
): Promise<AverageTracing> {
  const known = (await knownFacts(model, facts.slice(0, 10 * many))).slice(0, many);
  if (known.length === 0)
    throw new UsageError(
      `--facts: expected facts that ${model.id} knows, found none among the first ${10 * many}. Give others with --data.`,
    );
  const bar = terminal.progress('facts');
  try {
    const average = await traceFacts(model, known, options, (_, done) => bar.update(done, known.length));
    showAverage(terminal, average);
    return average;
  } finally {
    bar.stop();
  }
}

interface SweepInput {
  readonly facts: readonly Fact[];
  readonly contexts: readonly string[];
  /** The layer that tracing points to. */
  readonly traced: number | undefined;
}

async function sweepOf(
  session: Session,
  { terminal, signal }: Run,
  args: EditArguments,
  { facts, contexts, traced }: SweepInput,
): Promise<LayerScore[]> {
  const { model, found } = session;
  const layers = args.layer === undefined ? layersToSweep(model.dims.layers, traced) : [args.layer];
  for (const layer of layers) model.checkLayer('trace', layer);
  const corpus = await readData('--data', undefined, 'wikitext.txt');
  const solverAt = layerSolvers(
    session,
    corpus.text.split('\n').filter((line) => line.trim() !== ''),
    layers,
    signal,
  );
  const bar = terminal.progress('layers');
  try {
    const scores = await sweepLayers(model, facts, {
      layers,
      method: args.method === undefined || args.method === 'all' ? 'r-rome' : args.method,
      editAt: async (layer) => ({
        ...valueOptionsFrom(args, found.entry),
        layer,
        contexts,
        solver: await solverAt(layer),
      }),
      seed: args.seed ?? 0,
      onLayer: (_, done) => bar.update(done, layers.length),
      signal,
    });
    showSweep(terminal, scores);
    return scores;
  } finally {
    bar.stop();
  }
}

async function writeFigures(
  out: string,
  { model, about, timed }: Session,
  found: {
    trace: Tracing | undefined;
    average: AverageTracing | undefined;
    sweep: readonly LayerScore[] | undefined;
  },
): Promise<void> {
  const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  const files = await timed('report', () =>
    makeReport({
      title: `Where ${model.id} keeps its facts`,
      about: [
        ['model', `${model.id}; sha256 ${about.model.sha256.slice(0, 16)}`],
        ['adapter', about.adapter.description],
      ],
      command: `palimpsest trace --out ${out}`,
      ...given,
    }),
  );
  for (const [name, content] of files) await writeAtomic(resolve(out, name), content);
}

const SHADES = ' ░▒▓█';
/** Effects printed as numbers where there are few layers. */
const MOST_NUMBERS = 12;

function showTracing(terminal: Terminal, tracing: Tracing): void {
  const { tokens, subject, object, clean, corrupted, samples, noise, window, effects } = tracing;
  terminal.heading(`Causal tracing of${object}`);
  terminal.say(
    `  p(${quoted(object)}) is ${percent(Math.log(clean))} in the clean run, and ${percent(Math.log(corrupted))} ` +
      `over ${samples} runs with noise of deviation ${noise.toPrecision(3)} on the subject (*). What comes back, in percent points:`,
    '  ',
  );
  const rows = tokens.map((token, t) => `${quoted(token)}${t >= subject[0] && t < subject[1] ? ' *' : ''}`);
  for (const site of TRACE_SITES)
    if (effects[site]) showGrid(terminal, titleOf(site, window), rows, effects[site] ?? []);
}

function showAverage(terminal: Terminal, average: AverageTracing): void {
  const { n, clean, corrupted, window, effects } = average;
  terminal.heading(`Average over ${n} facts`);
  terminal.say(
    `  ${percent(Math.log(clean))} in the clean runs, ${percent(Math.log(corrupted))} in the corrupted ones`,
    '  ',
  );
  for (const site of TRACE_SITES) {
    const found = effects[site];
    const kinds = TOKEN_KINDS.filter((kind) => (found?.[kind] ?? []).length > 0);
    if (found)
      showGrid(
        terminal,
        titleOf(site, window),
        [...kinds],
        kinds.map((kind) => found[kind]),
      );
  }
  const found = layerContrast(average);
  if (!found) return;
  const { layer, next, difference, margin } = found;
  const [points, around] = [difference, margin].map((x) => (100 * x).toFixed(1));
  const by = `MLPs at the subject's last token restore most around layer ${layer}, ${points} points more than around layer ${next}`;
  terminal.say(
    difference > margin
      ? `  ${by} (± ${around} over the facts): try --layer ${layer}`
      : `  ${by}. ${Number.isNaN(margin) ? `${n} facts do not tell` : `With ± ${around} over ${n} facts that does not tell`} the layers apart: ` +
          'trace more with --facts, or edit at each layer with --sweep',
    '  ',
  );
}

function showSweep(terminal: Terminal, scores: readonly LayerScore[]): void {
  terminal.heading(`Single edits at each layer (${scores[0]?.n ?? 0} facts)`);
  const best = bestLayer(scores);
  const heads: Column[] = ['layer', 'ES', 'PS', 'NS', 'S'].map((title) => ({
    title,
    align: 'right' as const,
  }));
  const rows = scores.map(({ layer, ES, PS, NS, score }) => [
    String(layer),
    ...[ES, PS, NS, score].map((x) => (x === undefined ? '' : x.toFixed(1))),
    layer === best ? 'best' : '',
  ]);
  terminal.table([...heads, { title: '' }], rows);
}

function showGrid(
  terminal: Terminal,
  title: string,
  rows: readonly string[],
  effects: readonly (readonly number[])[],
): void {
  const layers = effects[0]?.length ?? 0;
  const most = Math.max(...effects.flat(), Number.MIN_VALUE);
  const shade = (x: number): string =>
    SHADES[Math.min(SHADES.length - 1, Math.max(0, Math.round((x / most) * (SHADES.length - 1))))] ?? ' ';
  terminal.print();
  const numbers = layers <= MOST_NUMBERS;
  const heads: Column[] = numbers
    ? Array.from({ length: layers }, (_, layer) => ({ title: String(layer), align: 'right' as const }))
    : [{ title: `layers 0 to ${layers - 1}` }];
  const cells = effects.map((row, r) => [
    `  ${rows[r] ?? ''}`,
    ...(numbers
      ? row.map((x) => `${shade(x)}${(100 * x).toFixed(1).padStart(5)}`)
      : [row.map(shade).join('')]),
  ]);
  terminal.table([{ title: `  ${title}` }, ...heads], cells);
}

function titleOf(site: TraceSite, window: number): string {
  return { state: 'hidden state', mlp: `MLP, ${window} layers`, attention: `attention, ${window} layers` }[
    site
  ];
}
