/** `palimpsest covariance build|info|merge|import|export`: C of a layer, the part of an edit that takes longest. */
import { stat } from 'node:fs/promises';
import { type CovarianceFacts, formatShards, readMatrices } from '../src/formats/covariance-file.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import { mergeCovariances } from '../src/io/covariance-merge.ts';
import { exportRome, importRome } from '../src/io/covariance-rome.ts';
import { printable } from '../src/printable.ts';
import { command } from './commands.ts';
import { KINDS } from './files.ts';
import { files, flag, input, number, output, text } from './flags.ts';
import { findCheckpoint } from './session.ts';
import { megabytes } from './text.ts';

const OUT_FLAG = {
  out: output('--out', 'write here [default: the cache, where edit finds it]', KINDS.covariance),
} as const;

export const info = command({
  flags: (yargs) => yargs.positional('file', input('file', 'a covariance file')),
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
    return { result: { ...metadata, file: path, bytes: size } };
  },
});

export const merge = command({
  flags: (yargs) => yargs.positional('files', files('files', 'files written with --shard')).options(OUT_FLAG),
  run: async ({ files: parts = [], out }, { terminal, signal }) => {
    const { path, key, facts, missing } = await mergeCovariances(parts, out, { signal });
    terminal.print(`${path}`);
    terminal.say(describeFacts(facts));
    if (missing.length > 0)
      terminal.warn(`shards ${missing.join(', ')} are still missing: this is a part, for merge only.`);
    return { result: { file: path, key, tokens: facts.tokens, documents: facts.documents, missing } };
  },
});

export const importNpz = command({
  flags: (yargs) =>
    yargs.positional('npz', input('npz', 'an archive of layer_stats')).options({
      model: text('--model', 'the model it was computed with [default: facts, which is bundled]'),
      layer: number('--layer', 'the layer it was computed for [default: as the archive or its name says]', {
        integer: true,
        min: 0,
      }),
      ...OUT_FLAG,
      offline: flag('never use the network'),
    }),
  run: async ({ npz = '', model, layer, out, offline }, run) => {
    const { terminal, signal } = run;
    const { checkpoint } = await findCheckpoint({ model, offline }, run);
    const { path, key, facts } = await importRome(npz, checkpoint, { layer, out, signal });
    terminal.print(path);
    terminal.say(describeFacts(facts));
    return { result: { file: path, key, tokens: facts.tokens, documents: facts.documents } };
  },
});

export const exportNpz = command({
  flags: (yargs) =>
    yargs
      .positional('file', input('file', 'a covariance file'))
      .options({ out: output('--out', 'the archive [default: FILE with .npz at its end]', KINDS.archive) }),
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

/** What a file is of, in one line. */
export function describeFacts(facts: CovarianceFacts): string {
  const shard = facts.shards ? `shard ${formatShards(facts.shards)}, ` : '';
  return `layer ${facts.layer} of ${facts.model}: ${shard}${count(facts.tokens)} tokens, ${count(facts.documents)} documents of ${facts.corpusName}`;
}

export function count(n: number): string {
  return n.toLocaleString('en');
}
