/** Adapters on a disk: a PEFT folder, and llama.cpp's GGUF. Written from edits, and read back where they came from here. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { editFilesOf, matrix, type Adapter, type EditFileParts } from '../edit/adapter.ts';
import { ModelError, UsageError } from '../errors.ts';
import { ggufFault, readGguf } from '../formats/gguf.ts';
import { ggufBytes } from '../formats/gguf-write.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import { makeFolder, writeAtomic, writeSafetensors, type WriteOptions } from './atomic.ts';
import { editFileName } from './edit-files.ts';
import { openSafetensors, openSource } from './file.ts';

/** What an adapter is for. */
export interface AdapterBase {
  /** As PEFT looks it up: a hub id or a folder. */
  readonly id: string;
  /** `model_type` of its config.json. */
  readonly architecture: string;
}

const PEFT_CONFIG = 'adapter_config.json';
const PEFT_WEIGHTS = 'adapter_model.safetensors';
const GGUF_ADAPTER = 'adapter.gguf';
/** Where the edits' own words stand in either file. */
const EDITS_KEY = 'palimpsest.edits';

/** The module that holds a weight, as transformers names it. */
function moduleOf(tensor: string, architecture: string): string {
  const module = tensor.replace(/\.weight$/, '');
  return architecture === 'gpt2' ? `transformer.${module}` : module;
}

/** Writes the two files that `PeftModel.from_pretrained(base, folder)` reads. @throws as `writeAtomic` */
export async function writePeft(
  folder: string,
  { rank, modules, edits }: Adapter,
  { id, architecture }: AdapterBase,
  options: WriteOptions = {},
): Promise<string[]> {
  const named = modules.map((module) => ({ ...module, name: moduleOf(module.tensor, architecture) }));
  const tensors = named.flatMap(({ name, A, B }): TensorToWrite[] => [
    matrix(`base_model.model.${name}.lora_A.weight`, [rank, A.length / rank], A),
    matrix(`base_model.model.${name}.lora_B.weight`, [B.length / rank, rank], B),
  ]);
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: id,
    r: rank,
    lora_alpha: rank,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: architecture === 'gpt2', // only its Conv1D is stored [in, out]
    inference_mode: true,
    target_modules: named.map(({ name }) => name),
  };
  const metadata = { format: 'pt', ...(edits === undefined ? {} : { [EDITS_KEY]: edits }) };
  await writeSafetensors(join(folder, PEFT_WEIGHTS), tensors, { ...options, metadata });
  await writeAtomic(join(folder, PEFT_CONFIG), `${JSON.stringify(config, undefined, 2)}\n`, options);
  return [PEFT_CONFIG, PEFT_WEIGHTS];
}

/** llama.cpp's names of the architectures that it has. */
const GGUF_ARCHITECTURES: Readonly<Record<string, string>> = {
  gpt2: 'gpt2',
  gptj: 'gptj',
  gpt_neox: 'gptneox',
  llama: 'llama',
  mistral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
};

/** Writes `adapter.gguf`, for `llama-cli --lora` and Ollama's ADAPTER; the base may be quantised. @throws as `writeAtomic` */
export async function writeGgufAdapter(
  folder: string,
  { rank, modules, edits }: Adapter,
  { architecture }: AdapterBase,
  options: WriteOptions = {},
): Promise<string[]> {
  const name = GGUF_ARCHITECTURES[architecture];
  if (name === undefined)
    throw new ModelError(
      `export: expected an architecture that llama.cpp has (${Object.keys(GGUF_ARCHITECTURES).join(', ')}), found ${architecture}. Use --format peft.`,
    );
  const bytes = ggufBytes(
    {
      'general.architecture': name,
      'general.type': 'adapter',
      'adapter.type': 'lora',
      'adapter.lora.alpha': rank,
      ...(edits === undefined ? {} : { [EDITS_KEY]: edits }),
    },
    modules.flatMap(({ layer, A, B }) => [
      { name: `blk.${layer}.ffn_down.weight.lora_a`, shape: [rank, A.length / rank], values: A },
      { name: `blk.${layer}.ffn_down.weight.lora_b`, shape: [B.length / rank, rank], values: B },
    ]),
  );
  await writeAtomic(join(folder, GGUF_ADAPTER), bytes, options);
  return [GGUF_ADAPTER];
}

/**
 * The edit files that an adapter was written from.
 *
 * @param path a PEFT folder, a folder with `adapter.gguf`, or a .gguf file
 * @throws UsageError for anything else, and for an adapter of another program
 */
export async function readAdapter(path: string): Promise<EditFileParts[]> {
  if (path.endsWith('.gguf')) return readGgufAdapter(path);
  const names = await readdir(path).catch(() => undefined);
  if (names?.includes(PEFT_WEIGHTS)) return readPeft(join(path, PEFT_WEIGHTS));
  if (names?.includes(GGUF_ADAPTER)) return readGgufAdapter(join(path, GGUF_ADAPTER));
  throw new UsageError(
    `import ${path}: expected a folder with ${PEFT_WEIGHTS} or ${GGUF_ADAPTER}, or a .gguf file, there is none. palimpsest export --format peft writes such a folder.`,
    'bad_adapter',
  );
}

/** A [r, F] and B [D, r] of each layer, as they are found. */
type Found = Map<number, { readonly [which in 'A' | 'B']?: Matrix }>;

interface Matrix {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

async function readPeft(path: string): Promise<EditFileParts[]> {
  const file = await openSafetensors(path, UsageError);
  const found: Found = new Map();
  for (const name of file.names()) {
    const [, layer, which] = /\.(?:h|layers)\.(\d+)\..*\.lora_([AB])\.weight$/.exec(name) ?? [];
    if (layer === undefined || (which !== 'A' && which !== 'B')) continue;
    const { shape } = file.info(name);
    const matrix = { shape, values: await file.readFloats(name) };
    found.set(Number(layer), { ...found.get(Number(layer)), [which]: matrix });
  }
  return fromLayers(found, file.metadata[EDITS_KEY], path);
}

/** F32 alone: what this program writes. */
async function readGgufAdapter(path: string): Promise<EditFileParts[]> {
  const advice = 'Name an adapter that palimpsest export wrote.';
  const file = await readGguf(await openSource(path, (what) => ggufFault(path, what, advice)));
  const found: Found = new Map();
  for (const name of file.names()) {
    const [, layer, which] = /^blk\.(\d+)\.ffn_down\.weight\.lora_([ab])$/.exec(name) ?? [];
    const { shape, dtype, bytes } = file.info(name);
    if (layer === undefined || dtype !== 'F32') continue;
    const matrix = { shape, values: new Float32Array((await file.read(name, 0, bytes)).buffer) };
    found.set(Number(layer), { ...found.get(Number(layer)), [which === 'a' ? 'A' : 'B']: matrix });
  }
  const words = file.metadata.get(EDITS_KEY);
  return fromLayers(found, typeof words === 'string' ? words : undefined, path);
}

function fromLayers(found: Found, words: string | undefined, path: string): EditFileParts[] {
  const shown = (matrix?: Matrix): string => (matrix ? `[${matrix.shape.join(', ')}]` : 'none');
  const rank = found.values().next().value?.A?.shape[0] ?? 0;
  const modules = [...found].map(([layer, { A, B }]) => {
    const areMatrices = A?.shape.length === 2 && B?.shape.length === 2;
    const haveRank = rank > 0 && A?.shape[0] === rank && B?.shape[1] === rank;
    if (!areMatrices || !haveRank || A.values.length === 0 || B.values.length === 0)
      throw new UsageError(
        `import ${path}: layer ${layer}: expected A [r, F] and B [D, r] of the rank r of all matrices, found ${shown(A)} and ${shown(B)}.`,
        'bad_adapter',
      );
    return { layer, A: A.values, B: B.values };
  });
  return editFilesOf(modules, rank, words, path);
}

/** Writes edit files as the folder of a run holds them, so that `--edits FOLDER` takes them. @throws UsageError where some are */
export async function writeEditFiles(
  folder: string,
  files: readonly EditFileParts[],
  options: WriteOptions = {},
): Promise<string[]> {
  const target = join(folder, 'edits');
  if (((await readdir(target).catch(() => [])) as string[]).length > 0)
    throw new UsageError(
      `import ${folder}: expected a new folder, there are edits in it. Choose another name, or remove it.`,
    );
  await makeFolder(target);
  const paths: string[] = [];
  for (const [i, { tensors, metadata }] of files.entries()) {
    const path = join(target, editFileName(i + 1));
    await writeSafetensors(path, tensors, { ...options, metadata });
    paths.push(path);
  }
  return paths;
}
