/** A model on a disk, a folder in the Hugging Face layout or one GGUF file: the engine's `Checkpoint`, and the hashes of what is in it. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.ts';
import { type Architecture, storedTensors } from '../models/architecture.ts';
import { type Checkpoint, checkTensors, readArchitecture } from '../models/checkpoint.ts';
import { jsonFrom } from '../json.ts';
import { openSource, readWhole, sha256File, verifyFile } from './file.ts';
import type { FileCheck } from './models.ts';
import { INDEX_FILE, WEIGHTS_FILE, isFile, openWeights, weightsFiles } from './weights-files.ts';

/** Without these, and weights, a folder is no checkpoint. */
export const REQUIRED_FILES = ['config.json', 'tokenizer.json'] as const;
export const OPTIONAL_FILES = ['tokenizer_config.json', 'chat_template.jinja'] as const;
const ALL_FILES = [...REQUIRED_FILES, WEIGHTS_FILE].join(', ');

/** Several times what the largest published models have. */
const MOST_BYTES = {
  'config.json': 4 * 2 ** 20,
  'tokenizer.json': 64 * 2 ** 20,
  'tokenizer_config.json': 16 * 2 ** 20,
  'chat_template.jinja': 2 ** 20,
} as const;
const MOST_VALUES = 3_000_000;

/**
 * Opens a folder: files present, config of an architecture that we know, every tensor there with the right shape. No tensor is read.
 *
 * @param id    what the user called the model; the folder when absent
 * @param files sizes and checksums of its files, by name; they are verified before anything else is read
 * @throws ModelError naming the file or the tensors, what was expected and what to do
 */
export async function openCheckpoint(
  folder: string,
  options: { readonly id?: string; readonly files?: Readonly<Record<string, FileCheck>> | undefined } = {},
): Promise<Checkpoint> {
  const { id = folder, files = {} } = options;
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory())
    throw new ModelError(
      `model ${id}: expected a folder with ${ALL_FILES}, but ${folder} ${found ? 'is a file, not a folder' : 'does not exist'}. ` +
        'Give --model such a folder or a hub id such as openai-community/gpt2.',
      'no_model',
    );
  for (const [name, check] of Object.entries(files)) await verifyFile(folder, name, check);
  // The config comes next: of another architecture one wants to hear just that, not which of its files are missing.
  const architecture = await readArchitecture(id, await readJson(id, folder, 'config.json'));
  const [missing] = await missingFiles(folder);
  if (missing !== undefined) throw await absent(id, folder, missing);

  const weights = await openWeights(folder, (await weightsFiles(folder)) ?? []);
  let hash: Promise<string> | undefined;
  return {
    id,
    architecture,
    tokenizerJson: await readJson(id, folder, 'tokenizer.json'),
    tokenizerConfig: await readTokenizerConfig(id, folder),
    tensors: checkTensors(id, weights.tensors, architecture),
    sha256: () => (hash ??= Promise.resolve(files[WEIGHTS_FILE]?.sha256 ?? weights.sha256())),
  };
}

export function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path);
}

/** Opens the file and checks its header; no tensor is read. @throws ModelError */
export async function openGguf(id: string, path: string): Promise<Checkpoint> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile())
    throw new ModelError(
      `model ${id}: expected a GGUF file, but ${path} ${found ? 'is none' : 'does not exist'}. Correct the path.`,
      'no_model',
    );
  // Most models are folders: what only a GGUF needs is loaded with one.
  const { ggufFault, readGguf } = await import('../formats/gguf.ts');
  const { ggufCheckpoint } = await import('../models/gguf-checkpoint.ts');
  const source = await openSource(path, (what) => ggufFault(path, what));
  let hash: Promise<string> | undefined;
  return ggufCheckpoint(id, await readGguf(source), () => (hash ??= sha256File(path)));
}

/** What a folder lacks to be a checkpoint; empty for one that can be opened. */
export async function missingFiles(folder: string): Promise<string[]> {
  const weights = (await weightsFiles(folder).catch(() => [INDEX_FILE])) ?? [WEIGHTS_FILE];
  const missing: string[] = [];
  for (const name of [...REQUIRED_FILES, ...weights])
    if (!(await isFile(join(folder, name)))) missing.push(name);
  return missing;
}

/** The chat template may lie in a file of its own. */
async function readTokenizerConfig(id: string, folder: string): Promise<unknown> {
  const has = (name: string): Promise<boolean> => isFile(join(folder, name));
  const config = (await has('tokenizer_config.json'))
    ? await readJson(id, folder, 'tokenizer_config.json')
    : {};
  if (!(await has('chat_template.jinja'))) return config;
  const chat_template = new TextDecoder().decode(await read(id, folder, 'chat_template.jinja'));
  return { ...(config as object), chat_template };
}

async function absent(id: string, folder: string, name: string): Promise<ModelError> {
  const pickle = (await isFile(join(folder, PICKLE))) || (await isFile(join(folder, `${PICKLE}.index.json`)));
  const advice =
    name === WEIGHTS_FILE && pickle
      ? `${PICKLE} is a pickle and is not read. ${CONVERT}`
      : 'Fetch the model again, or copy the file there.';
  return new ModelError(
    `model ${id}: expected ${ALL_FILES} in ${folder}, but ${name} is missing. ${advice}`,
    'incomplete_model',
  );
}

export const PICKLE = 'pytorch_model.bin';
/** What to do with a model that has nothing else. */
export const CONVERT =
  'Write it as safetensors with Python: AutoModelForCausalLM.from_pretrained(ID).save_pretrained(FOLDER), the same with AutoTokenizer, and give --model FOLDER.';

async function readJson(id: string, folder: string, name: keyof typeof MOST_BYTES): Promise<unknown> {
  const bytes = await read(id, folder, name);
  const fault = (found: string): Error => unreadable(id, folder, name, `expected JSON, found ${found}`);
  return jsonFrom(bytes, fault, { values: MOST_VALUES });
}

async function read(id: string, folder: string, name: keyof typeof MOST_BYTES): Promise<Uint8Array> {
  if (!(await isFile(join(folder, name)))) throw await absent(id, folder, name);
  return readWhole(join(folder, name), MOST_BYTES[name], (what) => unreadable(id, folder, name, what));
}

function unreadable(id: string, folder: string, name: string, what: string): ModelError {
  return new ModelError(`model ${id}: ${join(folder, name)}: ${what}. Fetch the file again.`, 'bad_json');
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
