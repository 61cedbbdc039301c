/**
 * Files from strangers, each made to take all memory, all time, or the terminal: every one is refused, or read, within
 * 300 MB over the start of this process and 5 s. What is refused says where and what.
 */
import { createWriteStream } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { unzipSync } from 'fflate';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { referencesFrom } from '../cli/evaluate.ts';
import { readEditList } from '../cli/edit-list.ts';
import { readEdit } from '../src/index.node.ts';
import { readFacts } from '../src/data/read.ts';
import { parseContexts } from '../src/edit/contexts.ts';
import { recordTensors } from '../src/edit/record.ts';
import { PalimpsestError, UsageError } from '../src/errors.ts';
import { npzFault } from '../src/formats/npz.ts';
import { readRomeStatistics, romeStatisticsBytes } from '../src/formats/rome-statistics.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import { openSource, sha256File } from '../src/io/file.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { checkFacts } from '../src/lab/evaluate.ts';
import { worstSequenceTable } from '../src/lab/report/tables.ts';
import type { Study } from '../src/lab/report/study.ts';
import type { SequenceHead, SequenceLine } from '../src/lab/sequence.ts';
import type { Fact } from '../src/data/fact.ts';
import type { Model } from '../src/models/model.ts';
import { Tokenizer } from '../src/models/tokenizer.ts';
import { parseJson } from '../src/json.ts';
import { throws, withFolder } from './folder.ts';
import { cli } from './process.ts';

const test = suite('untrusted');
const FACTS = fileURLToPath(new URL('../weights/facts/', import.meta.url));
const MEGABYTE = 2 ** 20;
const BRACKETS = '['.repeat(200_000);
const HOSTILE = '\u001b]0;title\u0007\u009b31m\u202eright\u2066\u001b[2J';
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

/** Peak memory of the process so far, in bytes. */
const peak = (): number => process.resourceUsage().maxRSS * 1024;

/** Runs a case within the bounds. Files are made before it, in pieces. */
async function bounded<T>(run: () => Promise<T>): Promise<T> {
  const [start, memory] = [process.cpuUsage(), process.memoryUsage().rss];
  try {
    return await run();
  } finally {
    const { user, system } = process.cpuUsage(start); // not the clock: a machine under load is no fault of ours
    const [ms, bytes] = [(user + system) / 1000, peak() - Math.max(memory, before)];
    assert.ok(ms < 5000, `${ms.toFixed(0)} ms`);
    assert.ok(bytes < 300 * MEGABYTE, `${(bytes / MEGABYTE).toFixed(0)} MB over the start`);
  }
}
const before = peak();

const refused = (run: () => Promise<unknown>, ...words: string[]): Promise<Error> =>
  bounded(() => throws(run, PalimpsestError as unknown as new (m: string) => Error, ...words));

/** `head`, then `piece` until there are `bytes` of it, then `tail`. */
async function writeLong(path: string, head: string, piece: string, bytes: number, tail = ''): Promise<void> {
  const file = createWriteStream(path);
  file.write(head, 'latin1');
  const block = piece.repeat(Math.ceil(MEGABYTE / piece.length));
  for (let at = 0; at < bytes; at += block.length) if (!file.write(block)) await once(file, 'drain');
  file.end(tail);
  await once(file, 'finish');
}

/** The first 8 bytes of a safetensors file. */
function lengthOf(header: number): string {
  return String.fromCharCode(...new Uint8Array(BigUint64Array.of(BigInt(header)).buffer));
}

test('JSON: depth, number of values and repeated keys are bounded before anything is parsed', async () => {
  for (const [text, word] of [
    [BRACKETS, 'more than 64 levels of brackets'],
    ['{"a":'.repeat(65) + '1', 'more than 64 levels of brackets'],
    [`[${'1,'.repeat(2_000_000)}1]`, 'more than 2,000,000 values'],
    ['{"a": 1', 'JSON'],
    ['"\\', 'JSON'],
    ['', 'JSON'],
  ] as const)
    await bounded(() => throws(() => parseJson(text), SyntaxError, word));
  await throws(
    () => parseJson('{"a": {"b": 1}, "\\u0061" : 2}', { uniqueKeys: true }),
    SyntaxError,
    '"a" twice',
  );
  await throws(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22)), SyntaxError, 'UTF-8');
  assert.equal(parseJson('[{"a": "b:{[,"}, {"a": "\\\\"}, "a"]', { uniqueKeys: true }), [
    { a: 'b:{[,' },
    { a: '\\' },
    'a',
  ]);
});

test('lists, records, contexts and config files of brackets are refused by name', async () => {
  await withFolder(async (folder) => {
    const list = join(folder, 'edits.json');
    await writeFile(list, BRACKETS);
    await refused(() => readEditList(list), list, 'levels of brackets');
    await refused(async () => parseContexts(BRACKETS, 'contexts.json'), 'contexts.json', 'levels');
    await refused(async () => readFacts(BRACKETS, 'facts.json'), 'facts.json', 'levels');
    await refused(async () => readFacts(`{"a":${BRACKETS}`, 'facts.jsonl'), 'line 1', 'levels');
    await refused(async () => readFacts(`"${'\\"'.repeat(5e6)}" => "x"`, 'plain.txt'), 'plain.txt: line 1');
    for (const name of ['config.json', 'tokenizer.json']) {
      await cp(FACTS, folder, { recursive: true });
      await writeFile(join(folder, name), BRACKETS);
      await refused(() => openCheckpoint(folder), name, 'levels');
      await writeLong(join(folder, name), '"', ' ', 65 * MEGABYTE, '"');
      await refused(() => openCheckpoint(folder), name, 'expected at most');
    }
  });
});

test('a config is compared with the tensors that are there before a table of its own is made', async () => {
  await withFolder(async (folder) => {
    await cp(FACTS, folder, { recursive: true });
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
    for (const n_layer of [1e6, 1e9, 10_000]) {
      await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, n_layer }));
      const words = n_layer > 10_000 ? ['n_layer: expected at most 10000'] : ['is missing', 'more'];
      const { message } = await refused(() => openCheckpoint(folder), ...words);
      assert.ok(message.length < 5000);
    }
    for (const field of ['vocab_size', 'n_positions', 'n_inner', 'n_embd']) {
      await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, [field]: 2 ** 40 }));
      await refused(() => openCheckpoint(folder), 'should be');
    }
  });
});

test('safetensors: headers of escapes, of a million tensors, of metadata without end', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.safetensors');
    const open = () => readEdit(path);
    for (const [bytes, word] of [
      [50 * MEGABYTE, 'header claims'],
      [24 * MEGABYTE, 'metadata'],
    ] as const) {
      const [head, tail] = ['{"__metadata__":{"a":"', '"}}'];
      await writeLong(path, lengthOf(head.length + bytes + tail.length) + head, '\\"', bytes, tail);
      await refused(open, path, word);
    }
    const entry = '"\\u0000":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},';
    await writeLong(path, `${lengthOf(30 * MEGABYTE)}{`, entry, 30 * MEGABYTE, '}');
    await refused(open, path);
    const many = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`k${i}`, 'v']));
    const tensors = recordTensors({ layer: 0, U: new Float32Array(4), Lambda: new Float32Array(2), rank: 1 });
    await writeSafetensors(path, tensors, { metadata: many });
    await refused(() => openCovariance(path), path, 'expected at most 10000 entries');
  });
});

interface Packed {
  readonly deflated: Uint8Array;
  readonly size: number;
  readonly crc: number;
}

function packed(bytes: Uint8Array): Packed {
  return { deflated: deflateRawSync(bytes), size: bytes.length, crc: crc32(bytes) };
}

/** The header of a .npy, then zeros: a megabyte of them is deflated once, and repeated. */
function array(dtype: string, shape: string, megabytes: number): Packed {
  const head = Buffer.alloc(128, ' ');
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0]);
  head.write(`{'descr': '${dtype}', 'fortran_order': False, 'shape': ${shape}, }`, 10);
  const open = { finishFlush: constants.Z_FULL_FLUSH };
  const zeros = deflateRawSync(new Uint8Array(MEGABYTE), open);
  const blocks = Array.from({ length: megabytes }, () => zeros);
  const deflated = Buffer.concat([deflateRawSync(head, open), ...blocks, Buffer.from([3, 0])]);
  return { deflated, size: 128 + megabytes * MEGABYTE, crc: 0 };
}

/** A ZIP of members that are deflated already. */
function zipped(members: Record<string, Packed>): Uint8Array {
  const [local, central]: [Uint8Array[], Uint8Array[]] = [[], []];
  let offset = 0;
  for (const [name, { deflated, size, crc }] of Object.entries(members)) {
    const common = Buffer.alloc(26); // version 20, method 8
    common.set([20, 0, 0, 0, 8, 0]);
    [crc, deflated.length, size].forEach((value, i) => common.writeUInt32LE(value, 10 + 4 * i));
    common.writeUInt16LE(name.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(offset, 10);
    central.push(Buffer.from([0x50, 0x4b, 1, 2, 20, 0]), common, rest, Buffer.from(name));
    local.push(Buffer.from([0x50, 0x4b, 3, 4]), common, Buffer.from(name), deflated);
    offset += 30 + name.length + deflated.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.set([0x50, 0x4b, 5, 6]);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...local, directory, end]);
}

test('npz: only what is wanted is unpacked, and no more of it than its header says', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.npz');
    const read = async () => readRomeStatistics(await openSource(path, npzFault(path)));
    const right = romeStatisticsBytes({ covariance: new Float32Array(16), size: 4, tokens: 8, documents: 2 });
    const members = Object.entries(unzipSync(right)).map(([name, bytes]) => [name, packed(bytes)] as const);
    const write = (more: Record<string, Packed>): Promise<void> =>
      writeFile(path, zipped({ ...Object.fromEntries(members), ...more }));
    await write({});
    assert.is((await read()).tokens, 8);
    await write({ 'other.npy': array('<U1', '(100000000,)', 400) });
    await bounded(read); // not wanted
    await write({ 'mom2.count.npy': array('<U1', '(100000000,)', 400) });
    await refused(read, path, 'mom2.count', 'at most 4096 bytes');
    await write({ 'mom2.mom2.npy': array('<f4', '(4, 4)', 400) });
    await refused(read, path, 'mom2.mom2', 'its header says 192 bytes');
    await write({ 'mom2.mom2.npy': array('<f4', '(10000, 10000)', 1) });
    await refused(read, path, 'mom2.mom2', 'its header says');
    await writeFile(path, zipped({ bomb: array('<f4', '()', 400) }));
    await refused(read, path, 'expected "mom2.count"');
  });
});

test('a record that a model cannot hold is named by file and record before anything is computed', async () => {
  const record = (more: object): string =>
    JSON.stringify([{ prompt: 'The {} is', subject: 'moon', target: 'made', queries: ['Of what?'] }, more]);
  const second = { prompt: 'The {} of', subject: 'sun', target: 'made' };
  for (const [queries, words] of [
    [[' '], ['facts.json: record 1', 'queries[0]', 'some text']],
    [['\ud800'], ['record 1', 'queries[0]', 'half a character']],
  ] as const)
    await throws(() => readFacts(record({ ...second, queries }), 'facts.json'), UsageError, ...words);
  const tokenizer = new Tokenizer(JSON.parse(await readFile(`${FACTS}tokenizer.json`, 'utf8')));
  const model = { tokenizer, dims: { context: 48 } } as unknown as Model;
  const facts = readFacts(record({ ...second, queries: ['so '.repeat(60)] }), 'facts.json');
  const long = [UsageError, 'facts.json: record 1', 'paraphrase 0', 'the context window holds 48'] as const;
  await throws(() => checkFacts(model, facts, ['{}']), ...long);
  await checkFacts(model, facts, ['{}'], { measure: false }); // where nothing is measured, nothing is asked
});

test('a device without end is not read to the end', async () => {
  for (const path of ['/dev/zero', '/dev/full']) {
    await refused(() => sha256File(path), path, 'no file');
    await refused(() => readEdit(path), path, 'expected a file');
    await refused(() => referencesFrom(path), path, 'at most 128 MiB');
  }
});

test('what a file names is looked up among what the file names', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'references.json');
    await writeFile(path, '{"P1": {"Q1": [{"text": "so"}]}, "P2": {"Q2": [{}]}}');
    const { of } = (await referencesFrom(path))!;
    const fact = (relationId: string, targetNewId: string) => ({ relationId, targetNewId }) as Fact;
    assert.equal(of(fact('P1', 'Q1')), ['so']);
    for (const name of ['constructor', '__proto__', 'toString', 'prototype'])
      assert.equal([of(fact(name, 'prototype')), of(fact('P1', name))], [[], []]);
    await writeFile(path, '{"P1": {"Q1": [null]}}');
    await refused(() => referencesFrom(path), path, 'P1.Q1.0');
  });
});

test('markup of a journal stays text in the report', () => {
  const markup = `"><script>alert(1)</script>\u202e`;
  const line = {
    method: 'rome',
    verdict: markup,
    prompt: `{} ${markup}`,
    subject: markup,
    target_new: markup,
  };
  const numbers = { edit: 1, case_id: 1, normalised_update: 1, cosine: 1 };
  const lines = [{ ...line, ...numbers }] as unknown as SequenceLine[];
  const html = worstSequenceTable({
    sequences: [{ method: 'rome', head: {} as SequenceHead, lines }],
  } as unknown as Study);
  assert.not.match(html, /<script|\u202e|class="verdict ">/);
  assert.match(html, '&#60;script&#62;');
});

test('nothing of a file reaches the terminal as a control, whatever the command says of it', async () => {
  await withFolder(async (folder) => {
    const [edit, list, covariance] = ['e.safetensors', 'l.json', 'c.safetensors'].map((name) =>
      join(folder, name),
    );
    const request = {
      prompt: `${HOSTILE.repeat(2)}${'é\u0301'.repeat(250_000)} {}`,
      subject: HOSTILE,
      target: 'x',
    };
    const metadata = {
      ...{ schema: 'palimpsest.edit/1', model: HOSTILE, model_sha256: 'ab'.repeat(32), layer: '0' },
      ...{ tensor: HOSTILE, method: 'rome', request: JSON.stringify({ ...request, target_ids: [1] }) },
    };
    const tensors = recordTensors({ layer: 0, U: new Float32Array(4), Lambda: new Float32Array(2), rank: 1 });
    await writeSafetensors(edit!, tensors, { metadata });
    await writeSafetensors(covariance!, [{ ...tensors[0]!, name: HOSTILE }], {
      metadata: { [HOSTILE]: HOSTILE },
    });
    const commands = [
      ['apply', edit!, '--list', list!, '--no-check'],
      ['history', '--list', list!],
      ['history', '--list', list!, '--json'],
      ['covariance', 'info', covariance!, '--json'],
      ['predict', '--', '-x', '--edits'],
    ];
    for (const words of commands) {
      const { code, stdout, stderr } = await cli(words);
      assert.ok(code !== null && code !== 1, `${words.join(' ')}: ${code}`);
      for (const text of [stdout, stderr]) {
        assert.not.match(text, CONTROL, words.join(' '));
        assert.not.match(text, '\uf8fe');
      }
      assert.ok(stderr.length < 20_000);
    }
  });
});

test.run();
