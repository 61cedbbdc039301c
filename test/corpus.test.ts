/** Corpora of every kind and oddity: which documents, in which order, from any place on, and what is refused. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { Readable } from 'node:stream';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Interrupted, UsageError } from '../src/errors.ts';
import { writeAtomic } from '../src/io/atomic.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import type { Corpus } from '../src/io/corpus-files.ts';
import { documents } from '../src/io/corpus.ts';
import type { CorpusDocument, CorpusPosition } from '../src/io/corpus.ts';
import { throws, withFolder } from './folder.ts';

const test = suite('corpus');

async function all(corpus: Corpus, from?: CorpusPosition): Promise<CorpusDocument[]> {
  const found: CorpusDocument[] = [];
  for await (const document of documents(corpus.files, from)) found.push(document);
  return found;
}

/** The documents of files with these contents, in the order of their names. */
async function read(
  contents: Record<string, string | Uint8Array>,
): Promise<{ texts: string[]; last: CorpusDocument }> {
  let found: CorpusDocument[] = [];
  await withFolder(async (folder) => {
    for (const [name, content] of Object.entries(contents)) await writeFile(join(folder, name), content);
    const paths = Object.keys(contents).map((name) => join(folder, name));
    found = await all(await openCorpus(paths, { spool: folder }));
  });
  return { texts: found.map(({ text }) => text), last: found.at(-1)! };
}

test('a line is a document: LF, CRLF, no last line end, a byte order mark, empty lines counted', async () => {
  const { texts, last } = await read({
    'a.txt': '\uFEFFone\r\n\r\n \t \ntwo \u{1F600}\nthree\rstill three\n\nlast',
  });
  assert.equal(texts, ['one', 'two \u{1F600}', 'three\rstill three', 'last']);
  assert.is(last.next.empty, 3);
  assert.is(last.next.line, 7);
  assert.is(last.next.documents, 4);
  assert.is(last.index, 3);
});

test('bytes that are no UTF-8 become U+FFFD, and their documents are counted', async () => {
  const bytes = Buffer.concat([
    Buffer.from('good\nba'),
    Buffer.from([0xff, 0xc3]),
    Buffer.from('d\nfine \u00e9\n'),
  ]);
  const { texts, last } = await read({ 'a.txt': bytes });
  assert.equal(texts, ['good', 'ba\uFFFD\uFFFDd', 'fine \u00e9']);
  assert.is(last.next.invalid, 1);
});

test('one document of 10 MB without a line break, and lines that straddle every read', async () => {
  const long = 'word '.repeat(2 * 2 ** 20);
  const { texts } = await read({ 'a.txt': `before\n${long}` });
  assert.is(texts.length, 2);
  assert.ok(texts[1] === long);
  const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'\u00e9'.repeat(i % 1700)}`);
  assert.equal((await read({ 'a.txt': lines.join('\n') })).texts, lines);
});

test('of a line beyond 16 MiB the beginning is kept, whole characters of it', async () => {
  const { texts, last } = await read({ 'a.txt': `x${'\u00e9'.repeat(9 * 2 ** 20)}\nnext` });
  assert.is(texts[0]!.length, 8 * 2 ** 20);
  assert.not.ok(texts[0]!.includes('\uFFFD'));
  assert.is(texts[1], 'next');
  assert.is(last.next.invalid, 0);
});

test('.jsonl: the text field, empty and blank ones counted', async () => {
  const { texts, last } = await read({
    'a.jsonl': '{"text": "one\\ntwo"}\r\n\n{"id": 7, "text": ""}\n{"text": "three"}',
  });
  assert.equal(texts, ['one\ntwo', 'three']);
  assert.is(last.next.empty, 2);
});

test('a .jsonl line that is not JSON, or without a text, is named by file and line', async () => {
  const cases: [string, RegExp][] = [
    ['{"text": "a"}\n{"text": oops}\n', /a\.jsonl: line 2: .*it is not JSON/],
    ['\n\n{"txt": "a"}\n', /a\.jsonl: line 3: .*it has none/],
    ['{"text": 5}\n', /line 1: .*"text" is 5/],
    ['[1]\n', /line 1: .*it has none/],
    ['null\n', /line 1: .*it has none/],
  ];
  for (const [content, words] of cases) await throws(() => read({ 'a.jsonl': content }), UsageError, words);
});

test('a folder: every text in it and below, by code points, hidden and other files left out', async () => {
  await withFolder(async (folder) => {
    await mkdir(join(folder, 'b', 'c'), { recursive: true });
    await mkdir(join(folder, '.git'));
    for (const [name, text] of [
      ['b/z.txt', '3'],
      ['b/c/a.jsonl', '{"text": "2"}'],
      ['B.txt', '1'],
      ['note.md', 'no'],
      ['.git/x.txt', 'no'],
      ['.hidden.txt', 'no'],
    ] as const)
      await writeFile(join(folder, name), text);
    const corpus = await openCorpus([folder], { spool: folder });
    assert.equal(
      (await all(corpus)).map(({ text }) => text),
      ['1', '2', '3'],
    );
    await mkdir(join(folder, 'empty'));
    await throws(() => openCorpus([join(folder, 'empty')], { spool: folder }), UsageError, 'there are none');
  });
});

test('stdin is copied, hashed and read, and the copy removed', async () => {
  await withFolder(async (folder) => {
    const stdin = Readable.from([Buffer.from('one\ntw'), Buffer.from('o')]);
    const corpus = await openCorpus(['-'], { spool: join(folder, 'spool'), stdin });
    assert.is(corpus.name, 'stdin');
    assert.is(corpus.sha256, createHash('sha256').update('one\ntwo').digest('hex'));
    assert.equal(
      (await all(corpus)).map(({ text }) => text),
      ['one', 'two'],
    );
    await corpus.close();
    assert.equal(await readdir(join(folder, 'spool')), []);
  });
});

test('a FIFO is read as stdin is, and waiting for it ends with the signal; a device is no corpus', async () => {
  if (process.platform === 'win32') return;
  await withFolder(async (folder) => {
    const [pipe, spool] = [join(folder, 'pipe'), join(folder, 'spool')];
    execFileSync('bash', ['-c', 'mkfifo "$0"', pipe]);
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Interrupted()), 50);
    await throws(() => openCorpus([pipe], { spool, signal: stop.signal }), Interrupted);
    assert.equal(await readdir(spool), []);
    const opening = openCorpus([pipe], { spool });
    await writeAtomic(pipe, 'one\ntwo'); // written into, not replaced
    const corpus = await opening;
    assert.equal([corpus.name, corpus.bytes, corpus.files.length], ['pipe', 7, 1]);
    assert.is((await all(corpus)).length, 2);
    await corpus.close();
    assert.equal(await readdir(spool), []);
    await throws(() => openCorpus(['/dev/zero'], { spool }), UsageError, 'it is a device');
  });
});

test('going on from any place gives the documents that are left, over several files', async () => {
  await withFolder(async (folder) => {
    const paths = ['a.txt', 'b.jsonl', 'c.txt'].map((name) => join(folder, name));
    await writeFile(paths[0]!, 'one\r\n\ntwo\n');
    await writeFile(paths[1]!, '{"text":"three"}\n\n{"text":"four"}\n');
    await writeFile(paths[2]!, '\nfive\nsix');
    const corpus = await openCorpus(paths, { spool: folder });
    const whole = await all(corpus);
    assert.is(whole.length, 6);
    for (const [i, { next }] of whole.entries()) assert.equal(await all(corpus, next), whole.slice(i + 1));
  });
});

test('the hash is that of the content: of one text file its own, of others with their formats', async () => {
  await withFolder(async (folder) => {
    const [a, b] = [join(folder, 'a.txt'), join(folder, 'b.jsonl')];
    await writeFile(a, '{"text":"x"}\n');
    await writeFile(b, '{"text":"x"}\n');
    const hash = async (...paths: string[]): Promise<string> =>
      (await openCorpus(paths, { spool: folder })).sha256;
    assert.is(await hash(a), createHash('sha256').update('{"text":"x"}\n').digest('hex'));
    assert.is(new Set([await hash(a), await hash(b), await hash(a, b), await hash(b, a)]).size, 4);
  });
});

test('what is no text, missing, given twice or changed meanwhile is refused', async () => {
  await withFolder(async (folder) => {
    const file = join(folder, 'a.txt');
    await writeFile(file, 'one\ntwo\n');
    const open = (...paths: string[]): Promise<Corpus> => openCorpus(paths, { spool: folder });
    await throws(() => open(join(folder, 'no.txt')), UsageError, 'no.txt', 'ENOENT');
    await throws(() => open(file, file), UsageError, 'given twice');
    await throws(() => open(), UsageError, 'got none');
    await writeFile(join(folder, 'x.txt'), Buffer.from([0x50, 0, 1]));
    await writeFile(join(folder, 'x.gz'), Buffer.from([0x1f, 0x8b, 8]));
    for (const name of ['x.txt', 'x.gz'])
      await throws(() => open(join(folder, name)), UsageError, name, 'binary');
    const corpus = await open(file);
    await utimes(file, new Date(0), new Date(0));
    await throws(() => all(corpus), UsageError, 'was changed');
  });
});

test.run();
