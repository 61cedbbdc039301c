/**
 * What the engine needs from a checkpoint, wherever it lies: files in Node, a server in a browser.
 *
 * The host hands in parsed JSON and a tensor reader; everything about them is checked here, before a byte of a tensor
 * is read.
 */
import { ModelError } from '../errors.ts';
import { isBlockType } from '../blocks.ts';
import { FLOAT_DTYPES, isFloatDtype } from '../floats.ts';
import { isRecord } from '../json.ts';
import { type Architecture, storedTensors } from './architecture.ts';

export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

export interface TensorFile {
  names(): string[];
  /** @throws ModelError if there is no such tensor */
  info(name: string): TensorInfo;
  /** Little-endian bytes in pieces of `maxBytes`, rounded down to whole elements; the last may be shorter. */
  chunks(name: string, maxBytes: number): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

export interface Checkpoint {
  /** What the user called it: a name, a hub id or a folder. */
  readonly id: string;
  readonly architecture: Architecture;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  /** Checked against the architecture, under its names; those that are stacked on the device are separate here. */
  readonly tensors: TensorFile;
  /** A seed: matrices are drawn on the device at random, and `tensors` gives none. */
  readonly drawn?: number;
  /** Of the weights' file, in lower-case hex. */
  sha256(): Promise<string>;
}

/** Far more than any model has. */
const MOST_LAYERS = 10_000;
/** Faults that a message lists. */
const MOST_LISTED = 20;

type Fields = Readonly<Record<string, unknown>>;

/** By `model_type`: a model loads the page of its own architecture. */
const ARCHITECTURES: Readonly<Record<string, () => Promise<(id: string, fields: Fields) => Architecture>>> = {
  gpt2: async () => (await import('./gpt2.ts')).readGpt2,
  gptj: async () => (await import('./gptj.ts')).readGptj,
  gpt_neox: async () => (await import('./gpt-neox.ts')).readGptNeox,
  llama: async () => (await import('./llama.ts')).readLlama,
  mistral: async () => (await import('./llama.ts')).readMistral,
  qwen2: async () => (await import('./llama.ts')).readQwen2,
  qwen3: async () => (await import('./llama.ts')).readQwen3,
};

/**
 * The architecture that a parsed `config.json` describes.
 *
 * @param id what the user called the model, for messages
 * @throws ModelError naming the field, what was expected and what came
 */
export async function readArchitecture(id: string, json: unknown): Promise<Architecture> {
  if (!isRecord(json))
    throw new ModelError(
      `model ${id}: config.json: expected a JSON object. Fetch the model again.`,
      'bad_config',
    );
  const { model_type: type, architectures } = json;
  checkLayers(id, json);
  const known =
    typeof type === 'string' && Object.hasOwn(ARCHITECTURES, type) ? ARCHITECTURES[type] : undefined;
  if (known) return (await known())(id, json);
  const names = Array.isArray(architectures) ? ` (${architectures.join(', ')})` : '';
  throw new ModelError(
    `model ${id}: config.json: expected model_type ${Object.keys(ARCHITECTURES).join(', ')}, got ${JSON.stringify(type) ?? 'none'}${names}. ` +
      'Supported are GPT-2, GPT-J, GPT-NeoX and Pythia, Llama and SmolLM2, Mistral, Qwen 2 and 3, and models fine-tuned from them.',
    'unsupported_architecture',
  );
}

/** Before a table of all tensors is made: the number of layers takes a few bytes, a table of them can take gigabytes. */
function checkLayers(id: string, fields: Fields): void {
  for (const name of ['n_layer', 'num_layers', 'num_hidden_layers']) {
    const layers = fields[name];
    if (typeof layers === 'number' && layers > MOST_LAYERS)
      throw new ModelError(
        `model ${id}: config.json: ${name}: expected at most ${MOST_LAYERS}, got ${layers}. Correct it.`,
        'bad_config',
      );
  }
}

/**
 * Checks that a file holds exactly the tensors of an architecture, and gives it back under the architecture's names.
 *
 * Tensors that the architecture ignores, and copies of tied ones, may be there as well.
 *
 * @throws ModelError listing every tensor that is missing, has another shape or dtype, or belongs to no such model
 */
export function checkTensors(
  id: string,
  file: TensorFile,
  architecture: Architecture,
  where = 'model.safetensors',
): TensorFile {
  const { tied } = architecture;
  const expected = storedTensors(architecture);
  const faults: string[] = [];
  const stored = new Map<string, string>();
  for (const name of file.names()) {
    const canonical = architecture.canonical(name);
    const other = stored.get(canonical);
    if (other !== undefined) faults.push(`${canonical} is there twice, as ${other} and as ${name}`);
    stored.set(canonical, name);
  }
  for (const [name, shape] of expected) {
    const found = stored.get(name);
    if (found === undefined) faults.push(`${name} [${shape.join(', ')}] is missing`);
    else faults.push(...compare(name, shape, file.info(found)));
  }
  for (const [name, found] of stored) {
    const copied = expected.get(tied.get(name) ?? '');
    if (copied) faults.push(...compare(name, copied, file.info(found)));
    else if (!expected.has(name) && !architecture.ignores(name))
      faults.push(`${name} is no tensor of this ${architecture.name}`);
  }
  if (faults.length > 0) {
    const more = faults.length - MOST_LISTED;
    const listed = [...faults.slice(0, MOST_LISTED), ...(more > 0 ? [`and ${more} more`] : [])];
    throw new ModelError(
      `model ${id}: expected the ${expected.size} tensors of its config.json, but in ${where}\n  ` +
        `${listed.join('\n  ')}\nFetch the model again, or correct config.json.`,
      'bad_tensors',
    );
  }
  const wanted = (name: string): string => stored.get(name) ?? name;
  return {
    names: () => [...expected.keys()],
    info: (name) => file.info(wanted(name)),
    chunks: (name, maxBytes) => file.chunks(wanted(name), maxBytes),
  };
}

function compare(name: string, shape: readonly number[], found: TensorInfo): string[] {
  const faults: string[] = [];
  if (found.shape.join() !== shape.join()) {
    faults.push(`${name} should be [${shape.join(', ')}], it is [${found.shape.join(', ')}]`);
  }
  if (!isFloatDtype(found.dtype) && !isBlockType(found.dtype)) {
    faults.push(`${name} should be one of ${FLOAT_DTYPES.join(', ')}, it is ${found.dtype}`);
  }
  return faults;
}
