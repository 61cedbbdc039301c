/**
 * What the engine needs from a checkpoint, wherever it lives: files in Node, a server in a browser.
 *
 * The host hands in parsed JSON and a tensor reader; everything about them is checked here, before a byte of a tensor
 * is read.
 */
import { ModelError } from '../errors.ts';
import { FLOAT_DTYPES, isFloatDtype } from '../floats.ts';
import type { Gpt2Config } from './config.ts';

export type { Gpt2Config };

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
  readonly config: Gpt2Config;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  /** Checked against `config`; names are without `transformer.`. */
  readonly tensors: TensorFile;
  /** Of the weights' file, in lower-case hex. */
  sha256(): Promise<string>;
}

/** Hugging Face stores some GPT-2 checkpoints with `transformer.` before each name and some without. */
export function canonicalName(name: string): string {
  return name.startsWith('transformer.') ? name.slice('transformer.'.length) : name;
}

/** The tensors a GPT-2 must have, names without `transformer.`; Conv1D weights are [in, out]. */
export function expectedTensors(config: Gpt2Config): Map<string, readonly number[]> {
  const { n_embd: D, n_inner: F, vocab_size: V, n_positions, n_layer } = config;
  const out = new Map<string, readonly number[]>([
    ['wte.weight', [V, D]],
    ['wpe.weight', [n_positions, D]],
  ]);
  const norm = (name: string): void => {
    out.set(`${name}.weight`, [D]).set(`${name}.bias`, [D]);
  };
  const conv = (name: string, rows: number, columns: number): void => {
    out.set(`${name}.weight`, [rows, columns]).set(`${name}.bias`, [columns]);
  };
  for (let layer = 0; layer < n_layer; layer++) {
    norm(`h.${layer}.ln_1`);
    conv(`h.${layer}.attn.c_attn`, D, 3 * D);
    conv(`h.${layer}.attn.c_proj`, D, D);
    norm(`h.${layer}.ln_2`);
    conv(`h.${layer}.mlp.c_fc`, D, F);
    conv(`h.${layer}.mlp.c_proj`, F, D);
  }
  norm('ln_f');
  return out;
}

/** Causal masks that older exports saved as tensors; the engine computes the mask. */
const MASK = /^h\.\d+\.attn\.(bias|masked_bias)$/;

/**
 * Checks that a file holds exactly the tensors of this config, and gives it back under names without `transformer.`.
 *
 * Causal masks saved as tensors are ignored, and so is `lm_head.weight`, which is tied to `wte.weight`.
 *
 * @throws ModelError listing every tensor that is missing, has another shape or dtype, or is not of a GPT-2
 */
export function checkTensors(id: string, file: TensorFile, config: Gpt2Config): TensorFile {
  const faults: string[] = [];
  const stored = new Map<string, string>();
  for (const name of file.names()) {
    const canonical = canonicalName(name);
    if (stored.has(canonical)) faults.push(`${canonical} is there twice, with and without "transformer."`);
    stored.set(canonical, name);
  }
  const expected = expectedTensors(config);
  for (const [name, shape] of expected) {
    const found = stored.get(name);
    if (found === undefined) faults.push(`${name} [${shape.join(', ')}] is missing`);
    else faults.push(...compare(name, shape, file.info(found)));
  }
  for (const [name, found] of stored) {
    if (name === 'lm_head.weight')
      faults.push(...compare(name, [config.vocab_size, config.n_embd], file.info(found)));
    else if (!expected.has(name) && !MASK.test(name)) faults.push(`${name} is no tensor of this GPT-2`);
  }
  if (faults.length > 0) {
    throw new ModelError(
      `model ${id}: expected the ${expected.size} tensors of its config.json, but in model.safetensors\n  ` +
        `${faults.join('\n  ')}\nFetch the model again, or correct config.json.`,
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
  if (!isFloatDtype(found.dtype)) {
    faults.push(`${name} should be one of ${FLOAT_DTYPES.join(', ')}, it is ${found.dtype}`);
  }
  return faults;
}
