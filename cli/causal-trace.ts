/** `palimpsest trace`: which states of the model carry a fact, and which layer to edit. */
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import { parseContexts } from '../src/edit/contexts.ts';
import { readBracketed } from '../src/edit/request.ts';
import { UsageError } from '../src/errors.ts';
import { writeSweptLayer } from '../src/io/cache.ts';
import { readData } from '../src/io/file.ts';
import {
  chooseLayer,
  knownFacts,
  layersToSweep,
  noiseOf,
  recommendedLayer,
  sweepLayers,
  traceFacts,
} from '../src/lab/trace-average.ts';
import type { AverageTracing, LayerScore, SweepChoice } from '../src/lab/trace-average.ts';
import { TRACE_SITES, type TraceRequest } from '../src/lab/trace-runs.ts';
import { traceFact, type TraceOptions, type Tracing } from '../src/lab/trace.ts';
import { command } from './commands.ts';
import { contextsFrom, sampledContexts, valueOptionsFrom, type EditArguments } from './edit-options.ts';
import { FOLDERS } from './files.ts';
import { EDIT_FLAGS, MODEL_FLAGS, folder, input, number, once, whole } from './flags.ts';
import { layerSolvers } from './covariance-build.ts';
import { documentsOf, writeReport } from './lab.ts';
import { applyNamed, introduce, withSession, type Session } from './session.ts';
import type { Progress } from './terminal.ts';
import { showAverage, showSweep, showTracing } from './trace-view.ts';

export const causalTrace = command({
  positionals: {
    sentence: once('a prompt with its subject in [brackets]'),
    object: once('what the model is to recall [default: what it finds likeliest]'),
  },
  flags: {
    prompt: once('a prompt with {} where the subject goes, instead of brackets'),
    subject: once('the subject, with --prompt'),
    facts: whole('average over so many facts of --data that the model knows', 0),
    sweep: whole('edit so many facts of --data at each layer, too', 0),
    data: input('facts, and subjects for the width of the noise [default: CounterFact]'),
    samples: whole('corrupted runs [default: 10]', 1),
    window: whole('layers restored together for MLP and attention [default: 10, less in small models]', 1),
    noise: number('deviation of the noise [default: 3 deviations of the subjects’ embeddings]'),
    out: folder('write figures and a report to this folder', FOLDERS.report),
    ...EDIT_FLAGS,
    ...MODEL_FLAGS,
  },
  conflicts: { sentence: ['prompt', 'subject'] },
  examples: { '$0 trace "The mother tongue of [Danielle Darrieux] is"': 'one fact' },
  run: async (args, run) => {
    const request = requestOf(args);
    const [many, swept] = [args.facts ?? 0, args.sweep ?? 0];
    if (!request && many === 0 && swept === 0)
      throw new UsageError(
        'trace: expected a sentence with its subject in [brackets], --facts N or --sweep N, found none of them.',
      );
    const data = await factsOf(args.data, many > 0 || swept > 0);
    const given = await contextsFrom(args, parseContexts);
    return withSession(args, run, {}, async (session) => {
      const { model, timed, terminal, signal } = session;
      introduce(session);
      const contexts = swept > 0 ? (given ?? (await sampledContexts(session, args.seed ?? 0))) : [];
      await applyNamed(session);
      const subjects = data.length > 0 ? data.map(({ subject }) => subject) : [request?.subject ?? ''];
      const noise = args.noise ?? (await timed('noise', () => noiseOf(model, subjects)));
      const { seed = 0, samples, window } = args;
      const options: TraceOptions = { noise, seed, samples, window, signal };
      const bar = (update: Progress['update']): Promise<Tracing> =>
        traceFact(model, request as TraceRequest, { ...options, onProgress: update });
      const trace = request && (await timed('trace', () => terminal.watch('trace', bar)));
      if (trace) showTracing(terminal, trace);
      const average =
        many > 0 ? await timed('average', () => averageOf(session, data, many, options)) : undefined;
      if (average) showAverage(terminal, average);
      const traced = average && recommendedLayer(average);
      const some = data.slice(0, swept);
      const sweepAll = (): Promise<LayerScore[]> => sweepOf(session, args, some, contexts, traced);
      const sweep = swept > 0 ? await timed('sweep', sweepAll) : undefined;
      if (sweep) showSweep(terminal, sweep);
      if (args.out !== undefined)
        await writeReport(args.out, session, {
          title: `Where ${model.id} keeps its facts`,
          about: [],
          command: `palimpsest trace --out ${args.out}`,
          ...{ trace, average, sweep },
        });
      const choice = sweep && chooseLayer(sweep);
      if (choice && args.layer === undefined) await keepChoice(session, choice);
      if (trace && !average && !sweep)
        terminal.say(
          'One fact does not choose an edit layer: average over many with --facts 20, or edit at each layer with --sweep 5.',
        );
      if (traced !== undefined && choice && traced !== choice.layer)
        terminal.say(
          `Tracing points to layer ${traced}, edits work best at layer ${choice.layer}. Go by the edits: tracing shows where a fact is recalled, which need not be where it is best written.`,
        );
      const recommended_layer = choice?.layer ?? traced;
      return session.report({ ...trace, sites: TRACE_SITES, average, sweep, recommended_layer });
    });
  },
});

/** Says which layer a sweep names and how sure it is, and keeps it for later edits of this model. */
async function keepChoice({ model, edits, terminal }: Session, choice: SweepChoice): Promise<void> {
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

type Words = Readonly<Partial<Record<'sentence' | 'object' | 'prompt' | 'subject', string | undefined>>>;

function requestOf({ sentence, object, prompt, subject }: Words): TraceRequest | undefined {
  if (sentence !== undefined) {
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
async function factsOf(data: string | undefined, needed: boolean): Promise<readonly Fact[]> {
  try {
    const { text: content, name } = await readData('--data', data, 'counterfact.json');
    return readFacts(content, name);
  } catch (error) {
    if (needed || data !== undefined) throw error;
    return [];
  }
}

async function averageOf(
  { model, terminal }: Session,
  facts: readonly Fact[],
  many: number,
  options: TraceOptions,
): Promise<AverageTracing> {
  const known = await knownFacts(model, facts, many);
  if (known.length === 0)
    throw new UsageError(
      `--facts: expected facts that ${model.id} knows, found none among the first ${10 * many}. Give others with --data.`,
    );
  return terminal.watch('facts', (update) =>
    traceFacts(model, known, options, (_, done) => update(done, known.length)),
  );
}

/** @param traced the layer that tracing points to */
async function sweepOf(
  session: Session,
  args: EditArguments,
  facts: readonly Fact[],
  contexts: readonly string[],
  traced: number | undefined,
): Promise<LayerScore[]> {
  const { model, found, terminal, signal } = session;
  const layers = args.layer === undefined ? layersToSweep(model.dims.layers, traced) : [args.layer];
  for (const layer of layers) model.checkLayer('trace', layer);
  const corpus = await readData('--data', undefined, 'wikitext.txt');
  const solverAt = layerSolvers(session, documentsOf(corpus.text), layers);
  return terminal.watch('layers', (onProgress) =>
    sweepLayers(model, facts, {
      layers,
      method: args.method === undefined || args.method === 'all' ? 'r-rome' : args.method,
      editAt: async (layer) => ({
        ...valueOptionsFrom(args, found.entry),
        layer,
        contexts,
        solver: await solverAt(layer),
      }),
      seed: args.seed ?? 0,
      onProgress,
      signal,
    }),
  );
}
