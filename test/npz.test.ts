import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unzipSync, zipSync } from 'fflate';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../src/errors.ts';
import { formatNpy, type NpyArray, parseNpy } from '../src/formats/npy.ts';
import { npzBytes, npzFault, openNpz } from '../src/formats/npz.ts';
import {
  readRomeStatistics as parseStatistics,
  romeStatisticsBytes,
} from '../src/formats/rome-statistics.ts';
import type { RomeStatistics } from '../src/formats/rome-statistics.ts';
import { FormatFault } from '../src/formats/source.ts';
import { openSource } from '../src/io/file.ts';
import { throws, withFolder } from './folder.ts';

const test = suite('npz');
/** Written by numpy: test/golden/npz/make.py. */
const golden = (name: string): string => fileURLToPath(new URL(`golden/npz/${name}.npz`, import.meta.url));
const [T, F] = [40, 6];
/** All members. */
async function readNpz(path: string): Promise<Map<string, NpyArray>> {
  const archive = await openNpz(await openSource(path, npzFault(path)));
  const arrays = new Map<string, NpyArray>();
  for (const name of archive.names) arrays.set(name, await archive.read(name, Infinity));
  return arrays;
}
const readRomeStatistics = async (path: string) => parseStatistics(await openSource(path, npzFault(path)));

/** S = Σ_t k_t k_tᵀ of the keys in make.py, formed anew. */
function goldenSum(): number[] {
  const key = (t: number, i: number): number => ((7 * t + 3 * i + t * i) % 5) - 2;
  return Array.from({ length: F * F }, (_, at) => {
    let sum = 0;
    for (let t = 0; t < T; t += 1) sum += key(t, Math.floor(at / F)) * key(t, at % F);
    return sum;
  });
}

function statistics(): RomeStatistics {
  return {
    covariance: Float32Array.from(goldenSum(), (sum) => sum / T),
    size: F,
    tokens: T,
    documents: 3,
    origin: undefined,
  };
}

const matrix = (data: Float32Array, shape = [F, F]): NpyArray => ({ dtype: '<f4', shape, data });
const integer = (value: bigint): NpyArray => ({ dtype: '<i8', shape: [], data: BigInt64Array.of(value) });
/** Members of a good file; a test spoils one. */
const members = (): Record<string, NpyArray> => ({
  'mom2.count': integer(BigInt(T)),
  'mom2.mom2': matrix(Float32Array.from(goldenSum())),
  sample_size: integer(3n),
});

test('reads ROME’s statistics as numpy.savez and numpy.savez_compressed write them', async () => {
  for (const name of ['stored', 'deflated']) {
    assert.equal(await readRomeStatistics(golden(name)), statistics());
    const text = (await readNpz(golden(name))).get('mom2.constructor');
    assert.equal(text, { dtype: '<U', shape: [], data: ['util.runningstats.SecondMoment()'] });
  }
});

test('reads every version of the header and every dtype', async () => {
  const arrays = await readNpz(golden('kinds'));
  const ramp = [0, 0.25, 0.5, 0.75, 1, 1.25];
  for (const name of ['v1', 'v2', 'v3']) {
    assert.equal(arrays.get(name), { dtype: '<f8', shape: [2, 3], data: Float64Array.from(ramp) });
  }
  assert.equal(arrays.get('f4'), matrix(Float32Array.from(ramp), [2, 3]));
  assert.equal(arrays.get('i4'), { dtype: '<i4', shape: [2], data: Int32Array.of(-1, 2 ** 31 - 1) });
  assert.equal(arrays.get('i8'), { dtype: '<i8', shape: [1], data: BigInt64Array.of(-(2n ** 40n)) });
  assert.equal(arrays.get('text'), { dtype: '<U', shape: [2], data: ['k∗', '📜 ink'] });
  assert.equal(arrays.get('empty'), matrix(new Float32Array(0), [0, 4]));
});

test('an archive whose members have comments and extra fields is read', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'notes.npz');
    const notes = { comment: 'a note', extra: { 0x5455: Uint8Array.of(1, 2, 3, 4, 5) } };
    const packed = Object.entries(unzipSync(await readFile(golden('kinds'))));
    await writeFile(path, zipSync(Object.fromEntries(packed.map(([name, data]) => [name, [data, notes]]))));
    assert.equal(await readNpz(path), await readNpz(golden('kinds')));
  });
});

test('arrays of other kinds are refused by name', async () => {
  await throws(
    () => readNpz(golden('fortran')),
    UsageError,
    golden('fortran'),
    '"x"',
    'C order',
    'ascontiguousarray',
  );
  await throws(() => readNpz(golden('big-endian')), UsageError, '"x"', 'little-endian', '>f8');
  await throws(() => readNpz(golden('half')), UsageError, '"x"', 'dtype <f2');
  await throws(() => readNpz(golden('record')), UsageError, '"x"', 'plain dtype', "('a', '<f4')");
});

test('writes the bytes of numpy, member by member, and always the same archive', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'out.npz');
    await writeFile(path, romeStatisticsBytes(statistics()));
    assert.equal(await readRomeStatistics(path), statistics());
    const [ours, numpys] = [unzipSync(await readFile(path)), unzipSync(await readFile(golden('stored')))];
    assert.equal(Object.keys(ours), Object.keys(numpys));
    for (const [name, bytes] of Object.entries(numpys)) assert.equal(ours[name], bytes, name);
    const first = await readFile(path);
    assert.is(first.readUInt16LE(8), 0); // stored, as numpy.savez does
    await writeFile(path, romeStatisticsBytes(statistics()));
    assert.equal(await readFile(path), first);
  });
});

test('numpy opens what we write', async () => {
  if (spawnSync('python3', ['-c', 'import numpy']).status !== 0) {
    console.log(
      '  skipped: no python3 with numpy here; the bytes are compared with its own in the test before',
    );
    return;
  }
  await withFolder(async (folder) => {
    const path = join(folder, 'out.npz');
    await writeFile(path, romeStatisticsBytes(statistics()));
    const code = `import json, sys, numpy
d = numpy.load(sys.argv[1])
print(json.dumps([str(d['mom2.constructor']), int(d['mom2.count']), d['mom2.mom2'].tolist(), str(d['mom2.mom2'].dtype), int(d['sample_size']), str(d['sample_size'].dtype)]))`;
    const { stdout, stderr } = spawnSync('python3', ['-c', code, path], { encoding: 'utf8' });
    assert.is(stderr, '');
    const sum = goldenSum();
    const rows = Array.from({ length: F }, (_, i) => sum.slice(i * F, (i + 1) * F));
    assert.equal(JSON.parse(stdout), ['util.runningstats.SecondMoment()', T, rows, 'float32', 3, 'int64']);
  });
});

test('round trip of every kind of array', () => {
  const arrays: NpyArray[] = [
    matrix(Float32Array.of(1, NaN, -0), [3]),
    matrix(Float32Array.of(7), []),
    { dtype: '<f8', shape: [1, 1, 2], data: Float64Array.of(Math.PI, -Infinity) },
    { dtype: '<i4', shape: [2, 0], data: new Int32Array(0) },
    { dtype: '<i8', shape: [1], data: BigInt64Array.of(-(2n ** 63n)) },
    { dtype: '<U', shape: [3], data: ['', 'Λ', '📜'] },
    { dtype: '<U', shape: [], data: [''] },
  ];
  for (const array of arrays) {
    const bytes = formatNpy(array);
    const back = parseNpy(bytes);
    assert.equal(
      { ...back, data: [...back.data].map(String) },
      { ...array, data: [...array.data].map(String) },
    );
    assert.is((10 + bytes[8]! + 256 * bytes[9]!) % 64, 0);
  }
});

test('a .npy that is cut short or lies', async () => {
  const good = formatNpy(matrix(Float32Array.of(1, 2, 3), [3]));
  const broken = (change: (bytes: Uint8Array) => void): Uint8Array => {
    const bytes = good.slice();
    change(bytes);
    return bytes;
  };
  await throws(() => parseNpy(good.subarray(0, 9)), FormatFault, 'not a .npy');
  await throws(() => parseNpy(broken((b) => b.set([0x50]))), FormatFault, 'not a .npy');
  await throws(() => parseNpy(broken((b) => b.set([4], 6))), FormatFault, 'version 1 to 3', 'got 4');
  await throws(() => parseNpy(broken((b) => b.set([2], 6))), FormatFault, 'truncated');
  await throws(() => parseNpy(good.subarray(0, 40)), FormatFault, 'truncated');
  await throws(
    () => parseNpy(good.subarray(0, good.length - 1)),
    FormatFault,
    '<f4 [3] takes 12 bytes',
    '11',
  );
  await throws(() => parseNpy(broken((b) => b.fill(0x20, 10, 128))), FormatFault, 'plain dtype');
});

test('an archive that is none, is cut short, or damaged', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'bad.npz');
    await throws(() => readNpz(path), UsageError, path, 'ENOENT');
    const bytes = await readFile(golden('stored'));
    for (const bad of [
      Buffer.alloc(0),
      Buffer.from('not a zip at all, but long enough to be one'),
      bytes.subarray(0, -30),
    ]) {
      await writeFile(path, bad);
      await throws(() => readNpz(path), UsageError, path, 'ZIP', 'truncated');
    }
    // One flipped bit in the matrix: only the checksum can tell.
    const at = bytes.indexOf("'shape': (6, 6)") + 100;
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 1;
    await writeFile(path, flipped);
    await throws(() => readNpz(path), UsageError, path, '"mom2.mom2": it is damaged', 'checksum');
    const deflated = await readFile(golden('deflated'));
    deflated.fill(0xff, 60, 120);
    await writeFile(path, deflated);
    await throws(() => readNpz(path), UsageError, path, 'damaged');
    // A directory that points nowhere.
    const astray = Buffer.from(bytes);
    astray.writeUInt32LE(7, bytes.length - 6);
    await writeFile(path, astray);
    await throws(() => readNpz(path), UsageError, path, 'ZIP');
    await writeFile(path, zipSync({ 'x.npy': new Uint8Array(3) }));
    await throws(() => readNpz(path), UsageError, path, '"x"', 'not a .npy');
  });
});

const spoiled = (at: number, value: number): NpyArray => {
  const data = Float32Array.from(goldenSum());
  data[at] = value;
  return matrix(data);
};
const BAD_STATISTICS: [what: string, change: Record<string, NpyArray | undefined>, ...words: string[]][] = [
  ['no matrix', { 'mom2.mom2': undefined }, '"mom2.mom2"', 'mom2.count, sample_size'],
  ['no count', { 'mom2.count': undefined }, '"mom2.count"'],
  ['no sample size', { sample_size: undefined }, '"sample_size"'],
  ['a count of nothing', { 'mom2.count': integer(0n) }, '"mom2.count"', '>= 1'],
  [
    'a count that is a vector',
    { 'mom2.count': { dtype: '<i8', shape: [1], data: BigInt64Array.of(3n) } },
    '"mom2.count"',
    '[1]',
  ],
  ['a count that is a float', { 'mom2.count': matrix(Float32Array.of(3), []) }, '"mom2.count"', '<f4'],
  [
    'a matrix that is not square',
    { 'mom2.mom2': matrix(new Float32Array(18), [3, 6]) },
    '"mom2.mom2"',
    '[3, 6]',
  ],
  ['a matrix that is a vector', { 'mom2.mom2': matrix(new Float32Array(36), [36]) }, '"mom2.mom2"', '[36]'],
  ['a matrix of integers', { 'mom2.mom2': integer(4n) }, '"mom2.mom2"', '<i8'],
  ['a negative diagonal', { 'mom2.mom2': spoiled(7, -1) }, '"mom2.mom2"', '[1, 1]'],
  ['a NaN', { 'mom2.mom2': spoiled(1, NaN) }, '"mom2.mom2"', 'finite', '[1, 0]'],
  ['an infinite diagonal', { 'mom2.mom2': spoiled(0, Infinity) }, '"mom2.mom2"', 'finite', '[0, 0]'],
  ['a matrix that is not symmetric', { 'mom2.mom2': spoiled(1, 5) }, '"mom2.mom2"', 'symmetric', '[1, 0]'],
];
for (const [what, change, ...words] of BAD_STATISTICS) {
  test(`ROME statistics with ${what} are refused`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'bad.npz');
      const entries = Object.entries({ ...members(), ...change }).filter(([, array]) => array !== undefined);
      await writeFile(path, npzBytes(Object.fromEntries(entries) as Record<string, NpyArray>));
      await throws(() => readRomeStatistics(path), UsageError, path, ...words);
    });
  });
}

test('a float64 sum and int32 counts are read too', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.npz');
    const archive = npzBytes({
      'mom2.count': { dtype: '<i4', shape: [], data: Int32Array.of(T) },
      'mom2.mom2': { dtype: '<f8', shape: [F, F], data: Float64Array.from(goldenSum()) },
      sample_size: { dtype: '<i4', shape: [], data: Int32Array.of(3) },
    });
    await writeFile(path, archive);
    assert.equal(await readRomeStatistics(path), statistics());
  });
});

test.run();
