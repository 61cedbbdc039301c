/** `palimpsest covariance build`: from text to C, with a checkpoint every minute. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { UsageError } from '../src/errors.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { cacheFolder } from '../src/io/cache.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import type { Corpus } from '../src/io/corpus-files.ts';
import { runBuild } from '../src/io/covariance-build.ts';
import type { BuiltFile } from '../src/io/covariance-build.ts';
import { parseShard, shareOf } from '../src/io/shard.ts';
import { command } from './command.ts';
import type { Run } from './command.ts';
import { BuildProgressView } from './covariance-progress.ts';
import { count, describeFacts, warnOfText } from './covariance-words.ts';
import { Watch, quality, tellQuality } from './covariance-watch.ts';
import { MODEL_FLAGS, choice, files, number, text } from './flags.ts';
import { checkWritable } from './files.ts';
import { introduce, reportTimings, withSession } from './session.ts';
import type { Session } from './session.ts';
import { megabytes } from './text.ts';

const CHECKPOINT_SECONDS = 60;

// C belongs to the model as it was trained: edits write above the keys of their layer, and C stays that of before.
const { edits: _edits, ...OWN_MODEL_FLAGS } = MODEL_FLAGS;

export const build = command({
  flags: (yargs) =>
    yargs
      .options({
        corpus: files(
          '--corpus',
          'text files (a document a line), .jsonl files ("text"), folders of these, or - for stdin',
        ),
        format: choice('--format', ['text', 'jsonl'], 'of files whose name does not tell, and of stdin'),
        tokens: number('--tokens', 'stop after so many [default: the whole corpus]', {
          integer: true,
          min: 1,
        }),
        layer: number('--layer', 'the layer, from 0 [default: the edit layer known for the model]', {
          integer: true,
          min: 0,
        }),
        layers: text('--layers', 'several layers in one pass, such as 3,5,7'),
        'checkpoint-every': number(
          '--checkpoint-every',
          `seconds between checkpoints [default: ${CHECKPOINT_SECONDS}]`,
          { above: 0 },
        ),
        shard: text(
          '--shard',
          'one part of several: i/n with i from 0, auto/n or auto under Slurm, Kubernetes or MPI',
        ),
        out: text('--out', 'write the file here [default: the cache, where edit finds it]'),
        restart: {
          type: 'boolean',
          default: false,
          describe: 'forget an earlier checkpoint or file of the same build',
        },
      })
      .options(OWN_MODEL_FLAGS)
      .example(
        '$0 covariance build --corpus books/ --tokens 200000',
        'C of the edit layer from a folder of text',
      ),
  run: async (args, run) => {
    if (args.corpus === undefined)
      throw new UsageError(
        'covariance build: expected --corpus with text to read, found none. Any text the model may know will do.',
      );
    const shard = args.shard === undefined ? undefined : parseShard(args.shard, process.env);
    const tokens = args.tokens !== undefined && shard ? shareOf(args.tokens, shard) : args.tokens;
    if (tokens === 0)
      throw new UsageError(
        `covariance build: --tokens ${args.tokens} gives nothing to some of the ${shard?.of} shards. Ask for more.`,
      );
    if (args.out !== undefined) await checkWritable('--out', args.out);
    return withSession(args, run, async (session) => {
      const layers = layersFrom(args, session);
      introduce(
        session,
        run,
        `covariance of layer ${layers.join(', ')}${shard ? `, shard ${shard.index}/${shard.of}` : ''}`,
      );
      const checkpoint = await checkpointOf(session);
      const corpus = await session.timed('hash', () => open(args.corpus ?? [], args.format, run));
      const view = new BuildProgressView(run, `layer ${layers.join(', ')}`);
      const watch = new Watch(session.gpu, run.terminal);
      try {
        const built = await session.timed('build', () =>
          runBuild({
            model: session.model,
            checkpoint,
            corpus,
            storage: args.weights,
            layers,
            tokens,
            shard,
            out: args.out,
            restart: args.restart,
            checkpointMs: 1000 * (args['checkpoint-every'] ?? CHECKPOINT_SECONDS),
            signal: run.signal,
            onProgress: (progress) => view.update(progress),
            onLook: (sums) => watch.look(sums),
            onResume: (found) =>
              run.terminal.note(`palimpsest: going on from a checkpoint of ${count(found)} tokens`),
          }),
        );
        view.stop();
        const qualities = await session.timed('quality', async () => {
          const found: (Record<string, number> | undefined)[] = [];
          for (const file of built) found.push(await quality(session.gpu, file));
          return found;
        });
        tell(built, qualities, tokens, run);
        reportTimings(session, run);
        const files = built.map((file, i) => ({ ...resultOf(file), ...qualities[i] }));
        const result = { files, corpus: corpusOf(corpus), convergence: watch.looks };
        return { ...session.about, result, timings_ms: session.timings };
      } catch (error) {
        view.stop();
        // The exit is told by main; what is kept, and how to go on, is known only here.
        if (run.signal.aborted && error instanceof Error) run.terminal.note(`palimpsest: ${error.message}`);
        throw error;
      } finally {
        await corpus.close();
      }
    });
  },
});

interface LayerArguments {
  readonly layer?: number | undefined;
  readonly layers?: string | undefined;
}

function layersFrom({ layer, layers }: LayerArguments, { model, found }: Session): number[] {
  if (layer !== undefined && layers !== undefined)
    throw new UsageError('covariance build: expected --layer or --layers, found both.');
  if (layers !== undefined) {
    if (!/^\d+(,\d+)*$/.test(layers))
      throw new UsageError(`--layers: expected numbers such as 3,5,7, found "${layers}".`);
    return layers.split(',').map(Number);
  }
  const one = layer ?? found.entry?.edit_layer;
  if (one !== undefined) return [one];
  throw new UsageError(
    `covariance build: expected --layer, since no edit layer is known for ${model.id}. It has layers 0 to ${model.dims.layers - 1}.`,
  );
}

/** The files of the session's model; its weights were hashed when it was loaded. */
async function checkpointOf({ found, model }: Session): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(found.folder, { id: found.id });
  return { ...checkpoint, sha256: () => Promise.resolve(model.sha256) };
}

async function open(
  paths: readonly string[],
  format: 'text' | 'jsonl' | undefined,
  { terminal, signal }: Run,
): Promise<Corpus> {
  const spool = join(cacheFolder(), 'covariance');
  await mkdir(spool, { recursive: true }).catch(() => undefined);
  let read = 0;
  const bar = terminal.progress('read corpus', megabytes);
  try {
    const onHash = (bytes: number): void => bar.update((read += bytes), Math.max(read, 1));
    return await openCorpus(paths, { format, spool, signal, onHash });
  } finally {
    bar.stop();
  }
}

function tell(
  built: readonly BuiltFile[],
  qualities: readonly (Record<string, number> | undefined)[],
  wanted: number | undefined,
  { terminal }: Run,
): void {
  for (const [i, { path, facts, reused }] of built.entries()) {
    terminal.print(path);
    terminal.say(`${describeFacts(facts)}${reused ? '; it was there already' : ''}`);
    const found = qualities[i];
    if (found) tellQuality(found, terminal);
  }
  const facts = built[0]?.facts;
  if (!facts) return;
  warnOfText(facts, terminal);
  if (wanted !== undefined && facts.tokens < wanted)
    terminal.warn(`the corpus ended after ${count(facts.tokens)} of the ${count(wanted)} tokens asked for.`);
  if (facts.tokens < 2 * facts.size && !facts.shards)
    terminal.warn(
      `${count(facts.tokens)} tokens are too few for keys of ${facts.size} numbers: an edit wants ${count(2 * facts.size)} at least, ten times that for a good C.`,
    );
}

function resultOf({ path, key, facts, reused }: BuiltFile): Record<string, unknown> {
  const { layer, tokens, documents, cut, empty, invalid } = facts;
  return {
    file: path,
    key,
    layer,
    tokens,
    documents,
    documents_cut: cut,
    documents_empty: empty,
    documents_invalid_utf8: invalid,
    reused,
  };
}

function corpusOf({ name, bytes, sha256 }: Corpus): Record<string, unknown> {
  return { name, bytes, sha256 };
}
