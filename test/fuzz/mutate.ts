/** Real files made wrong: as bytes, as JSON, as safetensors, as an archive, as lines. */
import { unzipSync, zipSync } from 'fflate';
import { covarianceKey } from '../../src/formats/covariance-file.ts';
import { checksumOf, sealed } from '../../src/formats/checksum.ts';
import { readSafetensors, safetensorsBytes } from '../../src/formats/safetensors.ts';
import type { TensorToWrite } from '../../src/formats/safetensors.ts';
import type { Choice } from './random.ts';

/** Moves the cursor, sets the title, turns the line round, ends an attribute, closes a tag. */
export const HOSTILE =
  '\u001b[2J\u001b]0;x\u0007\u009b31m\u202e\u2066"><script>alert(1)</script>\r\n{}\u0000';

const NUMBERS = [
  0,
  -1,
  1,
  2,
  0.5,
  7,
  64,
  255,
  1024,
  1e5,
  1e9,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e15,
  1e308,
  -1e308,
];
const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', '', HOSTILE, 'x'.repeat(100_000)];

/** What a value becomes. */
function value(c: Choice, was: unknown): unknown {
  const kinds: (() => unknown)[] = [
    () => null,
    () => c.once(2),
    () => c.of(NUMBERS),
    () => '',
    () => HOSTILE,
    () =>
      c.of([
        'a',
        '../../x',
        '/dev/zero',
        '/etc/passwd',
        'NaN',
        '0'.repeat(400),
        '\ud800',
        'é\u0301'.repeat(2e5),
      ]),
    () => [],
    () => ({}),
    () => nested(100_000),
    () => nested(c.of([10, 100, 100_000])),
    () => Array.from({ length: c.of([1, 100, 100_000]) }, () => c.of([was, 0, null, 'x'])),
    () => ({ [c.of(KEYS)]: was }),
    () => [was],
    () => (typeof was === 'string' ? was + c.of([' ', HOSTILE, '\n', '{}', 'x']) : was),
    () => (typeof was === 'number' ? was + c.of([1, -1, 0.5, -was, was]) : was),
    () => (typeof was === 'string' && was !== '' ? was.slice(0, c.below(was.length)) : was),
  ];
  return c.of(kinds)();
}

/** A value that stands for so many brackets: JSON.stringify itself would overflow. */
function nested(depth: number): unknown {
  return { [NESTED]: depth };
}
const NESTED = '\u0000nested';

function written(json: unknown): string {
  let room = 1e7; // a list of many such values would be longer than a string can be
  return JSON.stringify(json).replace(/\{"\\u0000nested":(\d+)\}/g, (_, depth) => {
    const n = Math.min(Number(depth), room);
    room -= n;
    return '['.repeat(n) + ']'.repeat(n);
  });
}

/** One to three members of a JSON text changed; texts within it that are JSON are changed from within, too. */
export function mutateJson(c: Choice, text: string): string {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    return mutateText(c, text);
  }
  for (let times = 1 + c.below(3); times > 0; times -= 1) root = change(c, root, 0);
  const out = written(root);
  return c.once(12) ? c.of(['\ufeff', '[', '}', '\u0000', ' ']) + out : out;
}

function change(c: Choice, node: unknown, depth: number): unknown {
  if (typeof node === 'string' && /^[[{]/.test(node) && !c.once(4)) return mutateJson(c, node);
  if (typeof node !== 'object' || node === null || c.once(8))
    return depth === 0 && c.once(2) ? node : value(c, node);
  if (Array.isArray(node)) {
    const list: unknown[] = [...(node as unknown[])];
    const at = c.below(list.length + 1);
    if (at === list.length || c.once(6)) list.splice(at, c.below(2), value(c, list[at]));
    else list[at] = change(c, list[at], depth + 1);
    return list;
  }
  const entries = Object.entries(node);
  const at = c.below(entries.length);
  const entry = entries[at];
  if (!entry || c.once(10)) return Object.fromEntries([...entries, [c.of(KEYS), value(c, 0)]]);
  if (c.once(10)) return Object.fromEntries(entries.filter((_, i) => i !== at));
  if (c.once(12)) return Object.fromEntries(entries.map(([key, v], i) => [i === at ? c.of(KEYS) : key, v]));
  entries[at] = [entry[0], change(c, entry[1], depth + 1)];
  return Object.fromEntries(entries);
}

export function mutateBytes(c: Choice, bytes: Uint8Array): Uint8Array {
  const n = bytes.length;
  const at = c.below(n + 1);
  const out = bytes.slice();
  const kinds: (() => Uint8Array)[] = [
    () => out.subarray(0, at),
    () => Buffer.concat([out, out.subarray(0, at)]),
    () => Buffer.concat([out.subarray(0, at), Buffer.from(HOSTILE), out.subarray(at)]),
    () => Buffer.concat([out.subarray(0, at), out.subarray(Math.min(n, at + 1 + c.below(64)))]),
    () => new Uint8Array(0),
    () => new Uint8Array(c.of([1, 8, 100, 100_000])),
    () => out.fill(c.of([0, 255, 0x5b, 0x22]), at, at + c.of([1, 8, 1000])),
    () => {
      for (let i = 1 + c.below(8); i > 0 && n > 0; i -= 1)
        out[c.below(c.once(2) ? Math.min(n, 200) : n)]! ^= 1 << c.below(8);
      return out;
    },
  ];
  return c.of(kinds)();
}

/** Lines of a text changed, repeated, made endless. */
export function mutateText(c: Choice, text: string): string {
  const lines = text.split('\n');
  const at = c.below(lines.length);
  const line = lines[at] ?? '';
  const kinds: (() => void)[] = [
    () => lines.splice(at, 1),
    () =>
      lines.splice(at, 0, c.of([HOSTILE, '', '{', '[', '"', 'null', 'x'.repeat(1e6), BRACKETS, ',,,,', '#'])),
    () => (lines[at] = line + c.of([HOSTILE, ' '.repeat(1e5), ',x', '"', '\ud800', '{}', '\t'])),
    () => (lines[at] = line.slice(0, c.below(line.length + 1))),
    () => (lines[at] = /^\s*[[{]/.test(line) ? mutateJson(c, line) : line.replace(/[a-z]+/i, HOSTILE)),
    () => (lines[at] = /^\s*[[{]/.test(line) ? mutateJson(c, line) : line.toUpperCase()),
    () => lines.push(...lines),
    () => lines.reverse(),
  ];
  c.of(kinds)();
  return lines.join(c.once(10) ? '\r\n' : '\n');
}
const BRACKETS = '['.repeat(200_000);

/** Header, metadata or numbers of a safetensors file changed; then, half of the time, sealed anew. */
export async function mutateSafetensors(c: Choice, bytes: Uint8Array): Promise<Uint8Array> {
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
  if (metadata['format'] === undefined) return sealed(rest, tensors);
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
export function mutateNpz(c: Choice, bytes: Uint8Array): Uint8Array {
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
