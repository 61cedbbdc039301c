/** Real files made wrong, each as what it is: safetensors, an archive, GGUF, a template, JSON, lines. */
import { unzipSync, zipSync } from 'fflate';
import { BLOCKS } from '../../src/blocks.ts';
import { covarianceKey } from '../../src/formats/covariance-identity.ts';
import { checksumOf, sealed } from '../../src/formats/checksum.ts';
import { readGguf } from '../../src/formats/gguf.ts';
import { readSafetensors, safetensorsBytes } from '../../src/formats/safetensors.ts';
import type { TensorToWrite } from '../../src/formats/safetensors.ts';
import { TYPE, ggufBytes } from '../gguf-file.ts';
import type { Stored, Value } from '../gguf-file.ts';
import { HOSTILE, KEYS, NUMBERS, mutateBytes, mutateJson, mutateText } from './mutate.ts';
import type { Choice } from './random.ts';

export async function mutateFile(
  c: Choice,
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array | string> {
  if (name.endsWith('.safetensors')) return mutateSafetensors(c, bytes);
  if (name.endsWith('.npz')) return mutateNpz(c, bytes);
  if (name.endsWith('.gguf')) return mutateGguf(c, bytes);
  if (c.once(4)) return mutateBytes(c, bytes);
  const text = Buffer.from(bytes).toString();
  if (name.endsWith('.jinja')) return mutateTemplate(c, text);
  return name.endsWith('.json') ? mutateJson(c, text) : mutateText(c, text);
}

/** Header, metadata or numbers of a safetensors file changed; then, half of the time, sealed anew. */
async function mutateSafetensors(c: Choice, bytes: Uint8Array): Promise<Uint8Array> {
  if (c.once(4)) return mutateBytes(c, bytes);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = Buffer.from(bytes.subarray(8, 8 + length)).toString();
  if (c.once(2)) return withHeader(mutateJson(c, header), bytes.subarray(8 + length), c);
  return consistent(c, bytes);
}

function withHeader(text: string, rest: Uint8Array, c: Choice): Uint8Array {
  const header = Buffer.from(text);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(c.once(10) ? BigInt(c.of([0, 1, 2 ** 31, 2 ** 53])) : BigInt(header.length));
  return Buffer.concat([size, header, rest]);
}

/** A file that is a right safetensors file, and says something else: what a stranger would write. */
async function consistent(c: Choice, bytes: Uint8Array): Promise<Uint8Array> {
  const source = {
    name: 'seed',
    size: bytes.length,
    read: (at: number, n: number) => Promise.resolve(new Uint8Array(bytes.slice(at, at + n).buffer)),
  };
  const file = await readSafetensors(source);
  const metadata: Record<string, string> = { ...file.metadata };
  const tensors: TensorToWrite[] = [];
  for (const name of file.names()) {
    const { dtype, shape } = file.info(name);
    const data = await file.read(name);
    tensors.push({ name, dtype, shape, data });
  }
  for (let times = 1 + c.below(2); times > 0; times -= 1) changeFile(c, metadata, tensors);
  const meta = c.once(4) ? metadata : await resealed(metadata, tensors);
  return Buffer.concat(await collect(safetensorsBytes('seed', tensors, meta)));
}

function changeFile(c: Choice, metadata: Record<string, string>, tensors: TensorToWrite[]): void {
  const names = Object.keys(metadata);
  const name = names.length > 0 ? c.of(names) : 'x';
  const at = c.below(tensors.length);
  const tensor = tensors[at] ?? { name: 'x', dtype: 'F32' as const, shape: [1], data: new Uint8Array(4) };
  const data = (tensor.data as Uint8Array).slice();
  const was = metadata[name] ?? '';
  const kinds: (() => void)[] = [
    () => (metadata[name] = /^[[{]/.test(was) ? mutateJson(c, was) : mutateText(c, was)),
    () =>
      (metadata[name] = /^[[{]/.test(was)
        ? mutateJson(c, was)
        : c.of([HOSTILE, '', '-1', '1e9', '9'.repeat(400), '0'])),
    () => delete metadata[name],
    () => (metadata[c.of(KEYS)] = HOSTILE),
    () => {
      for (let i = 0; i < 500; i += 1) metadata[`key ${i}`] = HOSTILE;
    },
    () => {
      const view = new DataView(data.buffer, data.byteOffset);
      const four = c.below(Math.max(1, data.length / 4)) * 4;
      if (data.length >= 4) view.setFloat32(four, c.of([NaN, Infinity, 3e38, -1, 0, 1e-40]), true);
      tensors[at] = { ...tensor, data };
    },
    () =>
      tensors.splice(at, 1, {
        ...tensor,
        name: c.of([HOSTILE, '__proto__', 'u', 'lambda', 'C', '', '1', 'x/y']),
      }),
    () => tensors.splice(at, 1),
    () => tensors.splice(at, 1, { ...tensor, shape: [1, ...tensor.shape] }),
    () => tensors.splice(at, 1, { ...tensor, shape: [...tensor.shape].reverse() }),
    () => tensors.splice(at, 1, { ...tensor, shape: [0], data: new Uint8Array(0) }),
  ];
  c.of(kinds)();
  const seen = new Set<string>();
  for (let i = tensors.length - 1; i >= 0; i -= 1) {
    const { name: one } = tensors[i] as TensorToWrite;
    if (seen.has(one) || one === '__metadata__') tensors.splice(i, 1);
    seen.add(one);
  }
}

/** With the checksums and keys that belong to it now. */
async function resealed(
  metadata: Record<string, string>,
  tensors: readonly TensorToWrite[],
): Promise<Record<string, string>> {
  const { checksum: _, ...rest } = metadata;
  if (!metadata['format']?.startsWith('palimpsest covariance')) return sealed(rest, tensors);
  const floats = Object.fromEntries(
    tensors.map(({ name, data }) => [name, new Float32Array((data as Uint8Array).slice().buffer)]),
  );
  const count = (name: string): number => Number(metadata[name]);
  const key = await covarianceKey({
    ...{ weights: metadata['weights_sha256'] ?? '', storage: metadata['weights_stored_as'] ?? '' },
    ...{ tokenizer: metadata['tokenizer_sha256'] ?? '', corpus: metadata['corpus_sha256'] ?? '' },
    ...{ layer: count('layer'), size: count('size'), context: count('context_length') },
    ...{
      wanted: metadata['tokens_wanted'] === 'all' ? undefined : count('tokens_wanted'),
      shards: undefined,
    },
  });
  return { ...metadata, key, checksum: await checksumOf(floats).catch(() => '') };
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const list: Uint8Array[] = [];
  for await (const piece of pieces) list.push(piece);
  return list;
}

/** Members of an archive changed: their headers, their numbers, their names. */
function mutateNpz(c: Choice, bytes: Uint8Array): Uint8Array {
  if (c.once(3)) return mutateBytes(c, bytes);
  const members: Record<string, Uint8Array> = unzipSync(bytes);
  const name = c.of(Object.keys(members));
  const array = members[name] as Uint8Array;
  const text = Buffer.from(array).toString('latin1');
  const kinds: (() => void)[] = [
    () => delete members[name],
    () => (members[name] = mutateBytes(c, array)),
    () => (members[c.of(['../../x', HOSTILE, 'a'.repeat(1000), '__proto__.npy'])] = array),
    () => (members['big.npy'] = new Uint8Array(3e7)),
    () => {
      const shape = c.of([
        '()',
        '(1000000000,)',
        '(-1,)',
        '(0, 0)',
        '(3, 3)',
        '(99999999999999999999, 2)',
        `(${HOSTILE})`,
      ]);
      members[name] = Buffer.from(text.replace(/'shape': \([^)]*\)/, `'shape': ${shape}`), 'latin1');
    },
    () => {
      const dtype = c.of(['<U70000000', '<f8', '<i8', '>f4', '|O', HOSTILE]);
      members[name] = Buffer.from(text.replace(/'descr': '[^']*'/, `'descr': '${dtype}'`), 'latin1');
    },
    () => {
      const out = array.slice();
      if (out.length > 136)
        new DataView(out.buffer, out.byteOffset).setFloat32(128, c.of([NaN, Infinity, -1, 1e38]), true);
      members[name] = out;
    },
  ];
  c.of(kinds)();
  return zipSync(members, { level: c.of([0, 6]) });
}

/** What a template may ask for without end. */
const GREEDY = [
  '{% for i in range(1000000000) %}x{% endfor %}',
  '{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}',
  '{% set ns = namespace(s="x") %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}',
  '{{ raise_exception("' + 'x'.repeat(20) + '") }}',
  '{{ messages.constructor.constructor("return process")().exit(7) }}',
  '{{ nothing.at.all }}',
  '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}',
  '{% if',
  '{{ messages | tojson }}',
];

function mutateTemplate(c: Choice, text: string): string {
  const at = c.below(text.length + 1);
  const kinds: (() => string)[] = [
    () => mutateText(c, text),
    () => text.slice(0, at) + text.slice(at + 1 + c.below(20)),
    () => c.of(GREEDY),
    () => text.replace('{% for', () => `${c.of(GREEDY)}{% for`),
    () => `{{ ${'('.repeat(100_000)}1`,
    () => '{% if true %}'.repeat(c.of([10, 10_000])) + text,
    () => `{{ raise_exception(${JSON.stringify(HOSTILE)}) }}`,
    () => HOSTILE.repeat(c.of([1, 1000, 1e6])),
  ];
  return c.of(kinds)();
}

/** Fields or tensors of a GGUF file changed; or its bytes. */
async function mutateGguf(c: Choice, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  if (c.once(3)) return mutateBytes(c, bytes);
  const file = await readGguf({
    ...{ name: 'seed', size: bytes.length },
    read: (at, length) => Promise.resolve(bytes.slice(at, at + length)),
  });
  const metadata = Object.fromEntries(file.metadata) as Record<string, Value>;
  for (const name of ['version', 'tensor_count', 'kv_count']) delete metadata[name]; // of the reader, not of the file
  const tensors = new Map<string, Stored>();
  for (const name of file.names()) {
    const { dtype, shape, bytes: length } = file.info(name);
    tensors.set(name, { type: TYPE[dtype as 'F32'], shape, data: await file.read(name, 0, length) });
  }
  for (let times = 1 + c.below(2); times > 0; times -= 1) changeGguf(c, metadata, tensors);
  return ggufBytes({ metadata, tensors }, c.once(10) ? 1 : 32);
}

function changeGguf(c: Choice, metadata: Record<string, Value>, tensors: Map<string, Stored>): void {
  const field = c.of(Object.keys(metadata));
  const was = metadata[field] as Value;
  const name = c.of([...tensors.keys()]);
  const tensor = tensors.get(name) as Stored;
  const number = (): number => Math.min(2 ** 32 - 1, Math.max(0, c.of(NUMBERS)));
  const kinds: (() => unknown)[] = [
    () => (metadata[field] = number()),
    () => (metadata[field] = number()),
    () =>
      (metadata[field] = c.of([
        '',
        HOSTILE,
        'llama',
        'x'.repeat(1e6),
        true,
        [],
        ['x'],
        [1, 2],
        [0.5],
        7n,
        [7n, -1n],
      ])),
    () => delete metadata[field],
    () => (metadata[c.of(KEYS)] = HOSTILE),
    () => {
      if (typeof was === 'string')
        metadata[field] = /[[{]/.test(was) && c.once(2) ? mutateTemplate(c, was) : mutateText(c, was);
      else if (Array.isArray(was)) metadata[field] = changed(c, was as string[]);
    },
    () => {
      for (let i = 0; i < 2000; i += 1) metadata[`key ${i}`] = HOSTILE;
    },
    () => tensors.delete(name),
    () => tensors.set(c.of([HOSTILE, '__proto__', 'rope_freqs.weight', 'output.weight', '']), tensor),
    () =>
      tensors.set(name, {
        ...tensor,
        shape: c.of([[...tensor.shape].reverse(), [1, ...tensor.shape], [0], [2 ** 31, 2 ** 31]]),
      }),
    () => tensors.set(name, { ...tensor, type: c.of([1, 2, 8, 10, 30, 99, ...Object.keys(BLOCKS).keys()]) }),
    () => tensors.set(name, { ...tensor, data: tensor.data.subarray(0, c.below(tensor.data.length)) }),
    () => tensors.set(name, { ...tensor, data: new Uint8Array(tensor.data).fill(255, 0, 64) }),
  ];
  c.of(kinds)();
}

/** A list of a tokenizer with one of its entries changed, doubled or gone. */
function changed(c: Choice, list: readonly string[]): Value {
  const out = [...list];
  const at = c.below(out.length);
  const kinds: (() => unknown)[] = [
    () => out.splice(at, 1),
    () => out.splice(0, at),
    () => typeof out[at] === 'string' && (out[at] = c.of([HOSTILE, '', 'x y z', 'x'.repeat(1e6)])),
    () => out.splice(at, 0, ...out.slice(0, 3)),
    () => out.reverse(),
  ];
  c.of(kinds)();
  return out;
}
