/** `palimpsest covariance build|info|merge|import|export`: C of a layer, the part of an edit that takes longest. */
import { stat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { UsageError } from '../src/errors.ts';
import { readMatrices } from '../src/formats/covariance-file.ts';
import { cacheFolder } from '../src/io/cache.ts';
import { openCorpus, type Corpus } from '../src/io/corpus-files.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import { mergeCovariances } from '../src/io/covariance-merge.ts';
import { exportRome, importRome } from '../src/io/covariance-rome.ts';
import { parseShard, shareOf } from '../src/io/shard.ts';
import { megabytes } from '../src/numerals.ts';
import { printable } from '../src/printable.ts';
import { command, type Run } from './commands.ts';
import { count, follow, qualityOf, resultOf, tell, warnOfText } from './covariance-build.ts';
import { KINDS } from './files.ts';
import { MODEL_FLAGS, choice, files, flag, input, output, positive, text, whole } from './flags.ts';
import { findCheckpoint, introduce, withSession, type Session } from './session.ts';
import type { Progress } from './terminal.ts';

const SAVE_SECONDS = 60;
/** More than any corpus has, and few enough for a file to say. */
const MOST_TOKENS = 1e12;

// C belongs to the model as it was trained: edits write above the keys of their layer, and C stays that of before.
const { edits: _edits, ...OWN_MODEL_FLAGS } = MODEL_FLAGS;

const OUT_FLAG = {
  out: output('write the file here [default: the cache, where edit finds it]', KINDS.covariance),
} as const;

export const build = command({
  flags: {
    corpus: files('text files (a document a line), .jsonl files ("text"), folders of these, or - for stdin'),
    format: choice(['text', 'jsonl'], 'of files whose name does not tell, and of stdin'),
    tokens: whole('stop after so many [default: the whole corpus]', 1, MOST_TOKENS),
    layer: whole('the layer, from 0 [default: the edit layer known for the model]', 0),
    layers: text('several layers in one pass, such as 3,5,7'),
    'save-every': positive(`seconds after which the state is saved again [default: ${SAVE_SECONDS}]`),
    shard: text('one part of several: i/n with i from 0, auto/n or auto under Slurm, Kubernetes or MPI'),
    ...OUT_FLAG,
    'skip-special': flag('leave out keys of special tokens, such as the BOS in front of every text'),
    restart: flag('forget an earlier state or file of the same build'),
    ...OWN_MODEL_FLAGS,
  },
  examples: {
    '$0 covariance build --corpus books/ --tokens 200000': 'C of the edit layer from a folder of text',
  },
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
    const { out, restart, skipSpecial } = args;
    return withSession(args, run, {}, async (session) => {
      const { gpu, model, found, timed } = session;
      const { checkpoint } = found;
      const layers = layersFrom(args, session);
      const part = shard ? `, shard ${shard.index}/${shard.of}` : '';
      introduce(session, `covariance of layer ${layers.join(', ')}${part}`);
      const corpus = await timed('hash', () => open(args.corpus ?? [], args.format, run));
      try {
        if (out !== undefined) await run.files.reads('--corpus', ...corpus.files.map(({ path }) => path));
        const saveMs = 1000 * (args['save-every'] ?? SAVE_SECONDS);
        const job = { model, checkpoint, corpus, layers, tokens, shard, out, restart, skipSpecial, saveMs };
        const { built, convergence } = await timed('build', () => follow(gpu, job, run));
        const files: Record<string, unknown>[] = [];
        for (const file of built) {
          const quality = await timed('quality', () => qualityOf(gpu, file));
          tell(file, run.terminal, quality);
          files.push({ ...resultOf(file), ...quality });
        }
        if (built[0]) warnOfText(built[0].facts, tokens, run.terminal);
        const { name, bytes, sha256 } = corpus;
        return session.report({ files, corpus: { name, bytes, sha256 }, convergence });
      } finally {
        await corpus.close();
      }
    });
  },
});

function layersFrom(
  { layer, layers }: { readonly layer?: number | undefined; readonly layers?: string | undefined },
  { model, found }: Session,
): number[] {
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

async function open(
  paths: readonly string[],
  format: 'text' | 'jsonl' | undefined,
  { terminal, signal }: Run,
): Promise<Corpus> {
  const spool = join(cacheFolder(), 'covariance');
  await mkdir(spool, { recursive: true }).catch(() => undefined);
  let read = 0;
  const hash = (update: Progress['update']): Promise<Corpus> => {
    const onHash = (bytes: number): void => update((read += bytes), Math.max(read, 1));
    return openCorpus(paths, { format, spool, signal, onHash });
  };
  return terminal.watch('read corpus', hash, megabytes);
}

/** What of a covariance's metadata, where all is text, is a number. */
const COUNTS = /^(layer|size|context_length|tokens|tokens_wanted|documents.*)$/;

export const info = command({
  positionals: { file: input('a covariance file') },
  run: async ({ file: path = '' }, { terminal }) => {
    const file = await openCovariance(path);
    await readMatrices(file);
    const { size } = await stat(path);
    const { metadata } = file.file;
    const numbers = `${megabytes(size)}, its numbers agree with the checksum`;
    const rows = [
      ...Object.entries(metadata).map(([name, value]) => [name, value || '-']),
      ['file', numbers],
    ];
    const width = rows.reduce((most, [name = '']) => Math.max(most, name.length), 0);
    for (const [name = '', value = ''] of rows)
      terminal.print(`${printable(name, 60).padEnd(Math.min(width, 60))}  ${printable(value, 300)}`);
    const counts = Object.entries(metadata).flatMap(([name, value]) =>
      COUNTS.test(name) && /^\d+$/.test(value) ? [[name, Number(value)] as const] : [],
    );
    return { result: { ...metadata, ...Object.fromEntries(counts), file: path, bytes: size } };
  },
});

export const merge = command({
  positionals: { files: files('files written with --shard') },
  flags: OUT_FLAG,
  run: async ({ files: parts = [], out }, { terminal, signal }) => {
    const { missing, ...built } = await mergeCovariances(parts, out, { signal });
    tell(built, terminal);
    if (missing.length > 0)
      terminal.warn(`shards ${missing.join(', ')} are still missing: this is a part, for merge only.`);
    return { result: { ...resultOf(built), missing } };
  },
});

export const importNpz = command({
  positionals: { npz: input('an archive of layer_stats') },
  flags: {
    model: text('the model it was computed with [default: facts, which is bundled]'),
    layer: whole('the layer it was computed for [default: as the archive or its name says]', 0),
    ...OUT_FLAG,
    offline: flag('never use the network'),
  },
  run: async ({ npz = '', model, layer, out, offline }, run) => {
    const { terminal, signal } = run;
    const { checkpoint } = await findCheckpoint({ model, offline }, run);
    const built = await importRome(npz, checkpoint, { layer, out, signal });
    tell(built, terminal);
    return { result: resultOf(built) };
  },
});

export const exportNpz = command({
  positionals: { file: input('a covariance file') },
  flags: { out: output('the archive [default: FILE with .npz at its end]', KINDS.archive) },
  run: async ({ file = '', out }, { terminal, signal, files: named }) => {
    const target = out ?? `${file.replace(/\.safetensors$/, '')}.npz`;
    if (out === undefined) await named.writes('--out', target, KINDS.archive);
    const facts = await exportRome(file, target, { signal });
    terminal.print(target);
    terminal.say(
      `mom2.mom2 is the raw sum over ${count(facts.tokens)} tokens; sample_size ${count(facts.documents)}.`,
    );
    return { result: { file: target, tokens: facts.tokens, documents: facts.documents } };
  },
});
