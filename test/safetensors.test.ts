import { spawnSync } from 'node:child_process';
import { mkdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError, ShapeError, UsageError } from '../src/errors.ts';
import { bytesOf } from '../src/floats.ts';
import { openSafetensors } from '../src/io/file.ts';
import { readSafetensors, safetensorsBytes } from '../src/formats/safetensors.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';

const test = suite('safetensors');
const FACTS = fileURLToPath(new URL('../weights/facts/model.safetensors', import.meta.url));

function tensor(name: string, values: number[], shape = [values.length]): TensorToWrite {
  return { name, dtype: 'F32', shape, data: bytesOf(Float32Array.from(values)) };
}

/** A file with any header text and any bytes after it. `length` lies about the header when given. */
function raw(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  out.set(text, 8);
  return out;
}

function header(entries: Record<string, unknown>): string {
  return JSON.stringify(entries);
}

const f32 = (shape: unknown, ...data_offsets: unknown[]): unknown => ({ dtype: 'F32', shape, data_offsets });

test('round trip: names, shapes, scalars, empty tensors, metadata, every byte', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'a', 'b', 'x.safetensors'); // missing folders are made
    const metadata = { schema: '1', note: 'k∗ "quoted"\n' };
    await writeSafetensors(
      path,
      [
        { name: 'half', dtype: 'F16', shape: [3], data: bytesOf(Uint16Array.of(0x3c00, 0x0001, 0xfc00)) },
        { name: 'bfloat', dtype: 'BF16', shape: [1, 1], data: bytesOf(Uint16Array.of(0xc040)) },
        { name: 'whole', dtype: 'I64', shape: [1], data: bytesOf(BigInt64Array.of(-7n)) },
        { name: 'ids', dtype: 'U32', shape: [2], data: bytesOf(Uint32Array.of(1, 2 ** 32 - 1)) },
        tensor('matrix', [1, 2, 3, 4, 5, 6], [2, 3]),
        tensor('scalar', [0.1], []),
        tensor('empty', [], [0, 5]),
      ],
      { metadata },
    );
    const file = await openSafetensors(path);
    assert.equal(file.metadata, metadata);
    assert.equal(file.names(), ['whole', 'empty', 'ids', 'matrix', 'scalar', 'bfloat', 'half']); // wide elements first
    const { dtype, shape, bytes } = file.info('matrix');
    assert.equal({ dtype, shape, bytes }, { dtype: 'F32', shape: [2, 3], bytes: 24 });
    assert.equal(await file.readFloats('matrix'), Float32Array.of(1, 2, 3, 4, 5, 6));
    assert.equal(await file.readFloats('scalar'), Float32Array.of(0.1));
    assert.equal(await file.readFloats('empty'), new Float32Array(0));
    assert.equal(await file.readFloats('half'), Float32Array.of(1, 2 ** -24, -Infinity));
    assert.equal(await file.readFloats('bfloat'), Float32Array.of(-3));
    assert.equal(await file.read('whole'), bytesOf(BigInt64Array.of(-7n)));
    assert.equal(await file.read('ids'), bytesOf(Uint32Array.of(1, 2 ** 32 - 1)));
    await throws(() => file.readFloats('whole'), ModelError, path, '"whole"', 'F32, F16, BF16', 'I64');
    await throws(() => file.read('nope'), ModelError, path, '"nope"', 'matrix');
    const length = (await readFile(path)).readBigUInt64LE();
    assert.is(length % 8n, 0n);
    await holdsOnly(join(folder, 'a', 'b'), ['x.safetensors']);
  });
});

test('a file of a page, a Blob, is read the same way', async () => {
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsBytes('x', [tensor('x', [1, 2, 3])], { note: 'page' }))
    pieces.push(piece);
  const blob = new Blob(pieces);
  const source = (size: number) => ({
    name: 'dropped.safetensors',
    size,
    read: async (offset: number, length: number) =>
      new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  });
  const file = await readSafetensors(source(blob.size));
  assert.equal(file.metadata, { note: 'page' });
  assert.equal(await file.readFloats('x'), Float32Array.of(1, 2, 3));
  await throws(() => readSafetensors(source(blob.size - 1)), ModelError, 'dropped.safetensors', 'truncated');
});

test('chunks: whole elements, every byte once, each piece the caller’s own', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, [tensor('skip', [9]), tensor('x', [1, 2, 3, 4, 5])]);
    const file = await openSafetensors(path);
    for (const [maxBytes, lengths] of [
      [8, [8, 8, 4]],
      [11, [8, 8, 4]],
      [1, [4, 4, 4, 4, 4]],
      [1000, [20]],
    ] as const) {
      const pieces: Uint8Array[] = [];
      for await (const piece of file.chunks('x', maxBytes)) pieces.push(piece);
      assert.equal(
        pieces.map((piece) => piece.length),
        [...lengths],
      );
      assert.equal(Buffer.concat(pieces), Buffer.from(Float32Array.of(1, 2, 3, 4, 5).buffer));
    }
  });
});

test('the bundled model, read in pieces and written again, is the same file byte for byte', async () => {
  await withFolder(async (folder) => {
    const file = await openSafetensors(FACTS);
    const path = join(folder, 'copy.safetensors');
    const tensors = file
      .names()
      .map((name) => ({ name, ...file.info(name), data: () => file.chunks(name, 100_001) }))
      .reverse();
    await writeSafetensors(path, tensors, { metadata: file.metadata });
    assert.is(Buffer.compare(await readFile(path), await readFile(FACTS)), 0);
  });
});

/** What is wrong, the file, and what the message must name. */
const MALFORMED: [what: string, file: Uint8Array, ...words: (string | RegExp)[]][] = [
  ['an empty file', new Uint8Array(0), '8 bytes', 'has 0'],
  ['half a length', new Uint8Array(5), 'has 5'],
  ['a header longer than the file', raw('{}', 0, 3n), '3 bytes', 'truncated'],
  ['a header length of 2^64 - 1', raw('{}', 0, 2n ** 64n - 1n), '18446744073709551615', '33554432'],
  ['a huge header', raw('{}', 0, 100_000_001n), '100000001', '33554432'],
  ['a header of no bytes', raw(''), 'expected JSON'],
  ['a header that is not JSON', raw('{"x": '), 'expected JSON'],
  ['a header that is not UTF-8', raw(Uint8Array.of(0x7b, 0xff, 0x7d)), 'UTF-8'],
  ['an array for a header', raw('[]'), 'JSON object'],
  [
    'a name twice',
    raw(
      '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0078":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
    ),
    '"x" twice',
  ],
  [
    'a field twice',
    raw('{"x":{"dtype":"F32","shape":[1,2],"shape":[2,1],"data_offsets":[0,8]}}', 8),
    '"shape" twice',
  ],
  ['an entry that is no object', raw(header({ x: 3 })), '"x"', 'dtype, shape and data_offsets'],
  ['no dtype', raw(header({ x: { shape: [1], data_offsets: [0, 4] } }), 4), '"x"', 'unknown dtype'],
  [
    'an unknown dtype',
    raw(header({ x: { dtype: 'F33', shape: [1], data_offsets: [0, 4] } }), 4),
    '"x"',
    '"F33"',
    'BF16',
  ],
  [
    'a dtype of Object.prototype',
    raw(header({ x: { dtype: 'toString', shape: [1], data_offsets: [0, 4] } }), 4),
    '"toString"',
  ],
  ['a shape that is a number', raw(header({ x: f32(1, 0, 4) }), 4), '"x"', 'shape', 'got 1'],
  ['a negative size', raw(header({ x: f32([-1, -1], 0, 4) }), 4), '"x"', '[-1,-1]'],
  ['a fractional size', raw(header({ x: f32([0.5, 2], 0, 4) }), 4), '"x"', '[0.5,2]'],
  ['a size that is text', raw(header({ x: f32(['1'], 0, 4) }), 4), '"x"', '["1"]'],
  [
    'a size beyond 2^53',
    raw('{"x":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', 4),
    '"x"',
    'shape',
  ],
  ['sizes whose product overflows', raw(header({ x: f32([2 ** 50, 2 ** 50], 0, 4) }), 4), '"x"', 'span 4'],
  ['three offsets', raw(header({ x: f32([1], 0, 4, 8) }), 8), '"x"', 'data_offsets', '[0,4,8]'],
  ['a negative offset', raw(header({ x: f32([1], -4, 0) }), 4), '"x"', '[-4,0]'],
  ['a fractional offset', raw(header({ x: f32([1], 0.5, 4.5) }), 8), '"x"', '[0.5,4.5]'],
  ['offsets that run backwards', raw(header({ x: f32([1], 4, 0) }), 4), '"x"', 'backwards: 4 to 0'],
  [
    'a length that is not shape x dtype',
    raw(header({ x: f32([2, 2], 0, 12) }), 12),
    '"x"',
    '[2, 2]',
    '16 bytes',
    'span 12',
  ],
  ['bytes past the end', raw(header({ x: f32([2], 0, 8) }), 7), '"x"', 'byte 8', 'only 7', 'truncated'],
  ['an overlap', raw(header({ x: f32([2], 0, 8), y: f32([1], 4, 8) }), 8), '"y" overlaps tensor "x"'],
  [
    'the same bytes twice',
    raw(header({ x: f32([1], 0, 4), y: f32([1], 0, 4) }), 4),
    '"y" overlaps tensor "x"',
  ],
  [
    'a gap',
    raw(header({ x: f32([1], 0, 4), y: f32([1], 8, 12) }), 12),
    '4 bytes between tensor "x" and tensor "y"',
  ],
  ['a gap at the start', raw(header({ x: f32([1], 4, 8) }), 8), '4 bytes between the header and tensor "x"'],
  ['bytes after the last tensor', raw(header({ x: f32([1], 0, 4) }), 9), '5 bytes after tensor "x"'],
  ['metadata that is no object', raw(header({ __metadata__: ['a'] })), '__metadata__', 'strings'],
  ['metadata with a number', raw(header({ __metadata__: { a: 1 } })), '__metadata__', 'strings'],
];

for (const [what, bytes, ...words] of MALFORMED) {
  test(`refuses ${what}`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'bad.safetensors');
      await writeFile(path, bytes);
      await throws(() => openSafetensors(path), ModelError, path, ...words);
      await throws(() => openSafetensors(path, UsageError), UsageError, path, ...words);
    });
  });
}

test('a name like __proto__ and braces in names are names like any other', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await writeFile(
      path,
      raw(
        `{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a{\\"}{:":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}  `,
        5,
      ),
    );
    assert.equal((await openSafetensors(path)).names(), ['__proto__', 'a{"}{:']);
  });
});

test('refuses a missing file, a folder, and a file that changed after its header was checked', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await throws(() => openSafetensors(path), ModelError, path, 'ENOENT');
    await throws(() => openSafetensors(folder), ModelError, folder, 'EISDIR');
    await writeSafetensors(path, [tensor('x', [1, 2])]);
    const file = await openSafetensors(path);
    await utimes(path, 1, 1);
    await throws(() => file.read('x'), ModelError, path, 'changed');
  });
});

test('a write that fails leaves the old file and nothing else', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, [tensor('x', [1])]);
    const before = await readFile(path);
    const again = (...tensors: TensorToWrite[]): Promise<void> => writeSafetensors(path, tensors);
    const lazy = (pieces: number[][]): TensorToWrite => ({
      ...tensor('y', [1, 2]),
      data: async function* () {
        for (const piece of pieces) yield bytesOf(Float32Array.from(piece));
      },
    });
    await again(lazy([[1], [], [2]]), tensor('x', [3]));
    assert.equal(await (await openSafetensors(path)).readFloats('y'), Float32Array.of(1, 2));
    await writeFile(path, before);
    await throws(() => again(lazy([[1]])), ShapeError, '"y"', '[2]', '8 bytes', 'only 4');
    const endless: TensorToWrite = {
      ...tensor('y', [1, 2]),
      data: async function* () {
        for (let sent = 0; sent < 3; sent += 1) yield new Uint8Array(8);
        throw new RangeError('asked for more than was needed to know');
      },
    };
    await throws(() => again(endless), ShapeError, '"y"', '8 bytes', 'more');
    await throws(() => again(tensor('x', [1]), tensor('x', [2])), ShapeError, '"x" is taken');
    await throws(() => again(tensor('__metadata__', [1])), ShapeError, '"__metadata__" is taken');
    const broken = {
      ...tensor('y', [1, 2]),
      data: async function* (): AsyncGenerator<Uint8Array> {
        yield new Uint8Array(4);
        throw new RangeError('lost');
      },
    };
    await throws(() => again(tensor('x', [1]), broken), RangeError, 'lost');
    assert.equal(await readFile(path), before);
    await holdsOnly(folder, ['x.safetensors']);
  });
});

test('a write that is interrupted leaves the old file and nothing else', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, [tensor('x', [1])]);
    const stop = new AbortController();
    const data = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(4);
      stop.abort(new RangeError('Ctrl-C'));
      yield new Uint8Array(4);
    };
    const write = (): Promise<void> =>
      writeSafetensors(path, [{ ...tensor('x', [1, 2]), data }], { signal: stop.signal });
    await throws(write, RangeError, 'Ctrl-C');
    await throws(write, RangeError, 'Ctrl-C'); // a signal that is already raised starts nothing
    assert.is((await openSafetensors(path)).info('x').bytes, 4);
    await holdsOnly(folder, ['x.safetensors']);
  });
});

test('process.exit in the middle of a write removes the temporary file', async () => {
  await withFolder(async (folder) => {
    const code = `import { writeAtomic } from ${JSON.stringify(new URL('../src/io/atomic.ts', import.meta.url).href)};
      await writeAtomic(${JSON.stringify(join(folder, 'x'))}, (async function* () { yield new Uint8Array(9); process.exit(7); })());`;
    const { status } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code]);
    assert.is(status, 7);
    await holdsOnly(folder, []);
  });
});

test('an output folder that cannot be written to is named', async () => {
  await withFolder(async (folder) => {
    const file = join(folder, 'a-file');
    await writeFile(file, 'x');
    // A path below a file and one that is a folder fail for root as well; chmod would not stop root.
    await throws(
      () => writeSafetensors(join(file, 'x.safetensors'), [tensor('x', [1])]),
      UsageError,
      file,
      'not a folder',
      'Choose',
    );
    await mkdir(join(folder, 'sub'));
    await throws(
      () => writeSafetensors(join(folder, 'sub'), [tensor('x', [1])]),
      UsageError,
      join(folder, 'sub'),
      'names a folder',
    );
    await holdsOnly(folder, ['a-file', 'sub']);
    if (process.platform === 'linux') {
      await throws(
        () => writeSafetensors('/proc/x.safetensors', [tensor('x', [1])]),
        UsageError,
        '/proc',
        'Choose',
      );
    }
  });
});

const DISKS: [what: string, options: string, ...words: string[]][] = [
  ['full', 'size=256k', 'the disk is full (ENOSPC', 'Free space'],
  ['read-only', 'ro', 'read-only disk (EROFS', 'Choose a folder'],
];
for (const [what, options, ...words] of DISKS) {
  test(`a ${what} disk is named, and nothing stays on it`, async () => {
    await withFolder(async (folder) => {
      // A disk of our own, seen by one child process only; needs no root where user namespaces are allowed.
      const writer = new URL('../src/io/atomic.ts', import.meta.url).href;
      const code = `import { writeSafetensors } from ${JSON.stringify(writer)};
        import { readdirSync } from 'node:fs';
        const [, folder] = process.argv;
        const x = { name: 'x', dtype: 'U8', shape: [1 << 20], data: new Uint8Array(1 << 20) };
        const error = await writeSafetensors(folder + '/x.safetensors', [x]).catch((error) => error);
        console.log(JSON.stringify([error?.name, error?.message, readdirSync(folder)]));`;
      const shell =
        'mount -t tmpfs -o "$4" none "$1" || exit 77; exec "$2" --import tsx --input-type=module -e "$3" "$1"';
      const args = ['-rm', 'sh', '-c', shell, 'sh', folder, process.execPath, code, options];
      const child = spawnSync('unshare', args, { encoding: 'utf8' });
      if (child.error || child.status === 77 || child.stderr.startsWith('unshare:')) {
        console.log(
          `  skipped: no disk can be mounted here (${child.error?.message ?? child.stderr.trim()})`,
        );
        return;
      }
      assert.is(child.status, 0, child.stderr);
      const [name, message, left] = JSON.parse(child.stdout);
      assert.is(name, 'UsageError', message);
      for (const word of [folder, ...words]) assert.ok(message.includes(word), message);
      assert.equal(left, []);
    });
  });
}

test('the writer makes files that others may read', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, [tensor('x', [1])]);
    assert.is((await stat(path)).mode & 0o444 & ~process.umask(), 0o444 & ~process.umask());
  });
});

test.run();
