/** The folder of a model in the Hugging Face layout: the engine's `Checkpoint` on a disk, and the hashes of what is in it. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.ts';
import { type Architecture, storedTensors } from '../models/architecture.ts';
import { type Checkpoint, checkTensors, readArchitecture } from '../models/checkpoint.ts';
import { parseJson } from '../json.ts';
import { type FileCheck, openSafetensors, readWhole, sha256File, verifyFile } from './file.ts';

/** Without these a folder is no checkpoint; `tokenizer_config.json` may be there as well. */
export const REQUIRED_FILES = ['config.json', 'tokenizer.json', 'model.safetensors'] as const;
export const OPTIONAL_FILES = ['tokenizer_config.json'] as const;
export const WEIGHTS_FILE = 'model.safetensors';

/** Several times what the largest published models have. */
const MOST_BYTES = {
  'config.json': 4 * 2 ** 20,
  'tokenizer.json': 64 * 2 ** 20,
  'tokenizer_config.json': 16 * 2 ** 20,
} as const;
const MOST_VALUES = 3_000_000;

export interface OpenOptions {
  /** What the user called the model; the folder when absent. */
  readonly id?: string;
  /** Sizes and checksums of its files, by name; they are verified before anything else is read. */
  readonly files?: Readonly<Record<string, FileCheck>> | undefined;
}

/**
 * Opens a folder: files present, config of an architecture that we know, every tensor there with the right shape. No tensor is read.
 *
 * @throws ModelError naming the file or the tensors, what was expected and what to do
 */
export async function openCheckpoint(folder: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const { id = folder, files = {} } = options;
  await checkFolder(id, folder);
  for (const [name, check] of Object.entries(files)) await verifyFile(folder, name, check);
  // The config comes next: of another architecture one wants to hear just that, not which of its files are missing.
  const architecture = readArchitecture(id, await readJson(id, folder, 'config.json'));
  for (const name of REQUIRED_FILES) await checkPresent(id, folder, name);

  const path = join(folder, WEIGHTS_FILE);
  const file = await openSafetensors(path);
  let hash: Promise<string> | undefined;
  return {
    id,
    architecture,
    tokenizerJson: await readJson(id, folder, 'tokenizer.json'),
    tokenizerConfig: (await isFile(join(folder, 'tokenizer_config.json')))
      ? await readJson(id, folder, 'tokenizer_config.json')
      : {},
    tensors: checkTensors(id, file, architecture),
    sha256: () => (hash ??= Promise.resolve(files[WEIGHTS_FILE]?.sha256 ?? sha256File(path))),
  };
}

async function checkFolder(id: string, folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory()) return;
  const what = found ? 'is a file, not a folder' : 'does not exist';
  throw new ModelError(
    `model ${id}: expected a folder with ${REQUIRED_FILES.join(', ')}, but ${folder} ${what}. ` +
      'Give --model such a folder or a hub id such as openai-community/gpt2.',
    'no_model',
  );
}

async function checkPresent(id: string, folder: string, name: string): Promise<void> {
  if (await isFile(join(folder, name))) return;
  let advice = 'Fetch the model again, or copy the file there.';
  if (name === WEIGHTS_FILE && (await isFile(join(folder, `${WEIGHTS_FILE}.index.json`)))) {
    advice =
      'The weights are split over several files: save them as one (save_pretrained with a larger max_shard_size).';
  } else if (name === WEIGHTS_FILE && (await isFile(join(folder, 'pytorch_model.bin')))) {
    advice =
      'pytorch_model.bin is a pickle and is not read: save the model as safetensors (save_pretrained).';
  }
  throw new ModelError(
    `model ${id}: expected ${REQUIRED_FILES.join(', ')} in ${folder}, but ${name} is missing. ${advice}`,
    'incomplete_model',
  );
}

async function readJson(id: string, folder: string, name: keyof typeof MOST_BYTES): Promise<unknown> {
  await checkPresent(id, folder, name);
  const fault = (what: string): ModelError =>
    new ModelError(`model ${id}: ${join(folder, name)}: ${what}. Fetch the file again.`, 'bad_json');
  const bytes = await readWhole(join(folder, name), MOST_BYTES[name], fault);
  try {
    return parseJson(bytes, { values: MOST_VALUES });
  } catch (error) {
    throw fault(`expected JSON, found ${(error as Error).message}`);
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/**
 * sha256 over all that the forward pass reads before the edited weight of `layer`, as it is stored.
 *
 * An edit writes into that weight, a fine-tuned head lies above: neither changes it.
 */
export async function weightsHash(
  checkpoint: Checkpoint,
  layer: number,
  signal?: AbortSignal,
): Promise<string> {
  const { architecture, tensors } = checkpoint;
  const hash = createHash('sha256');
  hash.update(JSON.stringify(architecture.constants));
  for (const name of tensorsBelow(architecture, layer)) {
    const { dtype, shape } = tensors.info(name);
    hash.update(JSON.stringify([name, dtype, shape]));
    for await (const piece of tensors.chunks(name, 2 ** 24)) {
      signal?.throwIfAborted();
      hash.update(piece);
    }
  }
  return hash.digest('hex');
}

/** The names of those tensors, sorted. */
export function tensorsBelow(architecture: Architecture, layer: number): string[] {
  const names = [...storedTensors(architecture).keys()];
  return names.slice(0, names.indexOf(architecture.editedWeight(layer).name)).sort();
}

/** sha256 of `tokenizer.json`, its white space aside. */
export function tokenizerHash(checkpoint: Checkpoint): string {
  return createHash('sha256').update(JSON.stringify(checkpoint.tokenizerJson)).digest('hex');
}
