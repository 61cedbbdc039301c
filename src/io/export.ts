/** Copies a checkpoint folder with some tensors changed, one tensor at a time, the whole folder or nothing. */
import { copyFile, mkdir, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UsageError } from '../errors.ts';
import { isFloatDtype, narrow, widen } from '../floats.ts';
import { parseJson } from '../json.ts';
import { INDEX_FILE, WEIGHTS_FILE, openWeights, readIndex, weightsFiles } from './weights-files.ts';
import { isSystemError, openSafetensors } from './file.ts';
import type { Safetensors, TensorToWrite } from '../formats/safetensors.ts';
import { removeLeftovers, withTemporary, writeSafetensors } from './atomic.ts';
import { placeOf } from './place.ts';

/** What belongs to a checkpoint beside its weights, as far as a folder has it. */
const COPIED = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
];

export interface ExportOptions {
  /** Whether a tensor, under the name it is stored by, changes. */
  readonly replace: (name: string) => boolean;
  /** The new numbers of such a tensor. */
  readonly change: (
    name: string,
    shape: readonly number[],
    values: Float32Array<ArrayBuffer>,
  ) => Promise<Float32Array>;
  /** How changed tensors are stored: exactly, or as wide as they were, which rounds the edit. */
  readonly dtype: 'f32' | 'stored';
  /** Added to the file's own. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Writes `to`, which must be new or empty. Tensors that do not change keep their dtype and bytes; names stay as stored,
 * shards stay shards.
 *
 * @returns sha256 of the new weights, as `openWeights` has it, and how much of the change was rounded away
 * @throws UsageError when `to` is there already or cannot be written
 */
export async function exportCheckpoint(
  from: string,
  to: string,
  options: ExportOptions,
): Promise<{ readonly sha256: string; readonly rounded: number }> {
  const { path: target } = await placeOf(to);
  await checkNew(target, to);
  try {
    await mkdir(dirname(target), { recursive: true });
    await removeLeftovers(target);
    return await withTemporary(target, async (temporary) => {
      await mkdir(temporary);
      for (const name of await readdir(from))
        if (COPIED.includes(name)) await copyFile(join(from, name), join(temporary, name));
      if (options.dtype === 'f32') await declareFloat32(join(temporary, 'config.json'));
      const files = (await weightsFiles(from)) ?? [];
      const { lost, change } = await writeWeights(from, temporary, files, options);
      const written = await openWeights(temporary, files);
      const sha256 = await written.sha256();
      options.signal?.throwIfAborted();
      await rename(temporary, target);
      return { sha256, rounded: change > 0 ? Math.sqrt(lost / change) : 0 };
    });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new UsageError(
      `export ${to}: expected a new folder in a place that can be written, but the system refused it (${error.code}). Nothing was written. Choose another place.`,
      'unwritable',
      { cause: error },
    );
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

/** How much of a change is lost where it is stored in fewer bits: squares of |stored − W'| and of |W' − W|, Frobenius. */
interface Rounding {
  lost: number;
  change: number;
}

async function writeWeights(
  from: string,
  to: string,
  names: readonly string[],
  options: ExportOptions,
): Promise<Rounding> {
  const rounding = { lost: 0, change: 0 };
  const files = await Promise.all(names.map((name) => openSafetensors(join(from, name))));
  const sizes = files.flatMap((file) => file.names().map((name) => file.info(name).bytes));
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
  let done = 0;
  const passed = (bytes: number): void => options.onProgress?.((done += bytes), total);
  for (const [i, file] of files.entries()) {
    const metadata = { ...file.metadata, ...(i === 0 ? options.metadata : {}) };
    const tensors = file.names().map((name) => toWrite(file, name, options, rounding, passed));
    await writeSafetensors(join(to, names[i] as string), tensors, { metadata, signal: options.signal });
  }
  if (names[0] !== WEIGHTS_FILE) await writeIndex(from, to, names);
  return rounding;
}

function toWrite(
  file: Safetensors,
  name: string,
  { replace, change, dtype: wanted }: ExportOptions,
  rounding: Rounding,
  passed: (bytes: number) => void,
): TensorToWrite {
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
  const keep = wanted === 'stored' && isFloatDtype(dtype) ? dtype : 'F32';
  const data = async function* (): AsyncGenerator<Uint8Array> {
    const before = await file.readFloats(name);
    const after = await change(name, shape, before.slice());
    const stored = narrow(keep, after);
    const kept = widen(keep, stored);
    for (let i = 0; i < after.length; i += 1) {
      const x = after[i] as number;
      rounding.lost += ((kept[i] as number) - x) ** 2;
      rounding.change += (x - (before[i] as number)) ** 2;
    }
    yield stored;
    passed(bytes);
  };
  return { name, dtype: keep, shape, data };
}

/** The index of the new shards: the same files, their new sizes. */
async function writeIndex(from: string, to: string, names: readonly string[]): Promise<void> {
  const { fileOf } = await readIndex(join(from, INDEX_FILE));
  let total_size = 0;
  for (const name of names) {
    const file = await openSafetensors(join(to, name));
    total_size += file.names().reduce((sum, tensor) => sum + file.info(tensor).bytes, 0);
  }
  const index = { metadata: { total_size }, weight_map: Object.fromEntries(fileOf) };
  await writeFile(join(to, INDEX_FILE), `${JSON.stringify(index, undefined, 2)}\n`);
}

/** @throws UsageError unless there is nothing yet, or an empty folder */
export async function checkNew(target: string, shown: string): Promise<void> {
  const found = await stat(target).catch(() => undefined);
  if (!found) return;
  if (found.isDirectory() && (await readdir(target)).length === 0) return;
  const what = found.isDirectory() ? 'a folder with files in it' : 'a file';
  throw new UsageError(
    `export ${shown}: expected a new folder, there is ${what}. Choose another name, or remove it.`,
  );
}
