/** Copies a checkpoint folder with some tensors changed, one tensor at a time, the whole folder or nothing. */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { copyFile, mkdir, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { WEIGHTS_FILE } from './weights-files.ts';
import { openSafetensors } from './file.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import { writeSafetensors } from './atomic.ts';
import { sha256File } from './file.ts';

/** What belongs to a checkpoint beside its weights, as far as a folder has it. */
const COPIED = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'vocab.json',
  'merges.txt',
];

export interface ExportOptions {
  /** Whether a tensor, under the name it is stored by, changes. */
  readonly replace: (name: string) => boolean;
  /** The new bytes of such a tensor, as F32 of the same shape. */
  readonly change: (
    name: string,
    shape: readonly number[],
    values: Float32Array<ArrayBuffer>,
  ) => Promise<Uint8Array>;
  /** Added to the file's own. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Writes `to`, which must be new or empty. Tensors that do not change keep their dtype and bytes; names stay as stored.
 *
 * @returns sha256 of the new weights file
 * @throws UsageError when `to` is there already or cannot be written
 */
export async function exportCheckpoint(from: string, to: string, options: ExportOptions): Promise<string> {
  const target = resolve(to);
  await checkNew(target, to);
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  const drop = (): void => rmSync(temporary, { recursive: true, force: true });
  process.once('exit', drop); // a second Ctrl-C ends the process without unwinding this function
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(temporary);
    for (const name of await readdir(from))
      if (COPIED.includes(name)) await copyFile(join(from, name), join(temporary, name));
    await declareFloat32(join(temporary, 'config.json'));
    await writeWeights(join(from, WEIGHTS_FILE), join(temporary, WEIGHTS_FILE), options);
    const sha256 = await sha256File(join(temporary, WEIGHTS_FILE));
    options.signal?.throwIfAborted();
    await rename(temporary, target);
    return sha256;
  } catch (error) {
    drop();
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new UsageError(
      `export ${to}: expected a new folder in a place that can be written, but the system refused it (${code}). Nothing was written. Choose another place.`,
      'unwritable',
      { cause: error },
    );
  } finally {
    process.off('exit', drop);
  }
}

/** Edited tensors are F32. A config that declared a narrower type would have its reader round the edit away. */
async function declareFloat32(path: string): Promise<void> {
  const config = parseJson(await readFile(path)) as Record<string, unknown>;
  const declared = ['torch_dtype', 'dtype'].filter((name) => name in config);
  if (declared.length > 0 && declared.every((name) => config[name] === 'float32')) return;
  for (const name of declared.length > 0 ? declared : ['torch_dtype']) config[name] = 'float32';
  await writeFile(path, `${JSON.stringify(config, undefined, 2)}\n`);
}

async function writeWeights(from: string, to: string, options: ExportOptions): Promise<void> {
  const { replace, change, metadata, onProgress, signal } = options;
  const file = await openSafetensors(from);
  const total = file.names().reduce((sum, name) => sum + file.info(name).bytes, 0);
  let done = 0;
  const passed = (bytes: number): void => onProgress?.((done += bytes), total);
  const tensors = file.names().map((name): TensorToWrite => {
    const { dtype, shape, bytes } = file.info(name);
    if (!replace(name)) {
      const data = async function* (): AsyncGenerator<Uint8Array> {
        for await (const piece of file.chunks(name)) {
          yield piece;
          passed(piece.length);
        }
      };
      return { name, dtype, shape, data };
    }
    const data = async function* (): AsyncGenerator<Uint8Array> {
      yield await change(name, shape, await file.readFloats(name));
      passed(bytes);
    };
    return { name, dtype: 'F32', shape, data };
  });
  const merged = { ...file.metadata, ...metadata };
  await writeSafetensors(to, tensors, { metadata: merged, signal });
}

async function checkNew(target: string, shown: string): Promise<void> {
  const found = await stat(target).catch(() => undefined);
  if (!found) return;
  if (found.isDirectory() && (await readdir(target)).length === 0) return;
  const what = found.isDirectory() ? 'a folder with files in it' : 'a file';
  throw new UsageError(
    `export ${shown}: expected a new folder, there is ${what}. Choose another name, or remove it.`,
  );
}
