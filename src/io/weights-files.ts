/** The weights of a folder: one `model.safetensors`, or shards that `model.safetensors.index.json` names. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.ts';
import { isRecord, jsonFrom } from '../json.ts';
import type { Safetensors } from '../formats/safetensors.ts';
import type { TensorFile } from '../models/checkpoint.ts';
import { openSafetensors, readWhole, sha256File } from './file.ts';

export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** A name in the same folder, and no other: `model-00001-of-00002.safetensors`. */
const SHARD_NAME = /^[\w][\w.-]*\.safetensors$/;
const MOST_SHARDS = 10_000;

const MOST_INDEX_BYTES = 64 * 2 ** 20;

/**
 * The files that an index names, sorted, and where each tensor shall be.
 *
 * @throws ModelError when it is no index, or names files outside its folder
 */
export async function readIndex(path: string): Promise<{ files: string[]; fileOf: Map<string, string> }> {
  const fault = (what: string): ModelError =>
    new ModelError(`${path}: ${what}. Fetch the file again.`, 'bad_index');
  const bytes = await readWhole(path, MOST_INDEX_BYTES, fault);
  const json = jsonFrom(bytes, (found) => fault(`expected JSON, found ${found}`));
  const map = isRecord(json) ? json['weight_map'] : undefined;
  if (!isRecord(map)) throw fault('expected "weight_map", an object of tensor: file');
  const fileOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !SHARD_NAME.test(file))
      throw fault(
        `${tensor}: expected a .safetensors file of the same folder, found ${JSON.stringify(file)}`,
      );
    fileOf.set(tensor, file);
  }
  const files = [...new Set(fileOf.values())].sort();
  if (files.length === 0 || files.length > MOST_SHARDS)
    throw fault(`expected 1 to ${MOST_SHARDS} files, found ${files.length}`);
  return { files, fileOf };
}

/** Names of the weights' files in a folder; those that an index names may be missing. Undefined where there is neither. */
export async function weightsFiles(folder: string): Promise<string[] | undefined> {
  if (await isFile(join(folder, WEIGHTS_FILE))) return [WEIGHTS_FILE];
  const index = join(folder, INDEX_FILE);
  if (!(await isFile(index))) return undefined;
  return (await readIndex(index)).files;
}

/**
 * Opens the headers of all files; no tensor is read.
 *
 * @returns also sha256: of one file its own; of shards that of what `sha256sum` prints of them, in the order of their names
 * @throws ModelError when a shard is missing, two hold one tensor, or the index names what is not there
 */
export async function openWeights(
  folder: string,
  files: readonly string[],
): Promise<{ readonly tensors: TensorFile; readonly sha256: () => Promise<string> }> {
  const opened = new Map<string, Safetensors>();
  for (const name of files) {
    const path = join(folder, name);
    if (!(await isFile(path)))
      throw new ModelError(
        `${join(folder, INDEX_FILE)}: expected ${name} beside it, there is none (${files.length} files are named). Fetch the model again, or copy the file there.`,
        'incomplete_model',
      );
    opened.set(name, await openSafetensors(path));
  }
  const holders = new Map<string, Safetensors>();
  for (const [name, file] of opened)
    for (const tensor of file.names()) {
      const other = holders.get(tensor);
      if (other)
        throw new ModelError(
          `${join(folder, name)}: the tensor "${tensor}" is in ${other.name}, too. Fetch both files again.`,
          'bad_tensors',
        );
      holders.set(tensor, file);
    }
  if (!files.includes(WEIGHTS_FILE)) await checkIndex(folder, opened);
  const holder = (name: string): Safetensors =>
    holders.get(name) ?? (opened.values().next().value as Safetensors); // which says what it has
  return {
    tensors: {
      names: () => [...holders.keys()],
      info: (name) => holder(name).info(name),
      chunks: (name, maxBytes) => holder(name).chunks(name, maxBytes),
    },
    sha256: () => hashOf(folder, files),
  };
}

/** Every tensor of the index lies where it says. */
async function checkIndex(folder: string, opened: ReadonlyMap<string, Safetensors>): Promise<void> {
  const index = join(folder, INDEX_FILE);
  const { fileOf } = await readIndex(index);
  const there = new Map([...opened].map(([name, file]) => [name, new Set(file.names())]));
  const missing = [...fileOf].filter(([tensor, file]) => !there.get(file)?.has(tensor));
  if (missing.length === 0) return;
  const [tensor, file] = missing[0] as [string, string];
  throw new ModelError(
    `${index}: expected "${tensor}" in ${file}, there is no such tensor${missing.length > 1 ? ` (nor are ${missing.length - 1} others where it says)` : ''}. Index and files are of different models: fetch them again.`,
    'bad_index',
  );
}

async function hashOf(folder: string, files: readonly string[]): Promise<string> {
  if (files.length === 1 && files[0] === WEIGHTS_FILE) return sha256File(join(folder, WEIGHTS_FILE));
  const hash = createHash('sha256');
  for (const name of files) hash.update(`${await sha256File(join(folder, name))}  ${name}\n`);
  return hash.digest('hex');
}

export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
