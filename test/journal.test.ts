/** A run on disk: what any interruption leaves is whole steps, and damage elsewhere is told. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as v from 'valibot';
import * as assert from 'uvu/assert';
import { ModelError, UsageError } from '../src/errors.ts';
import { openRun } from '../src/io/run.ts';
import type { JournalOptions } from '../src/io/run.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';

const test = suite('journal');
interface Line {
  edit: number;
  text: string;
}
const schemas = {
  head: v.object({ name: v.string() }),
  line: v.object({ edit: v.number(), text: v.string() }),
};
const open = (folder: string, mode: JournalOptions['mode'] | boolean) =>
  openRun<{ name: string }, Line>(folder, {
    mode: typeof mode === 'string' ? mode : mode ? 'resume' : 'new',
    ...schemas,
  });
const line = (edit: number): Line => ({ edit, text: `é\n${edit}` });
const vectors = (edit: number) => [Float32Array.of(edit, -0, 1e-40), Float32Array.of(edit / 3)];

async function collect(list: AsyncIterable<readonly Float32Array[]>): Promise<(readonly Float32Array[])[]> {
  const all = [];
  for await (const one of list) all.push(one);
  return all;
}

/** Three steps: two with vectors, one without. */
async function write(folder: string): Promise<void> {
  const journal = await open(folder, false);
  await journal.begin({ name: 'run' });
  await journal.append(line(1), vectors(1));
  await journal.append(line(2));
  await journal.append(line(3), vectors(3));
  await journal.close();
}

test('what was written comes back, bit for bit, and a run goes on', async () => {
  await withFolder(async (folder) => {
    await write(folder);
    const journal = await open(folder, true);
    assert.equal(journal.head, { name: 'run' });
    assert.equal(journal.lines, [line(1), line(2), line(3)]);
    assert.equal(await collect(journal.vectors()), [vectors(1), [], vectors(3)]);
    await journal.append(line(4), vectors(4));
    await journal.close();
    const again = await open(folder, true);
    assert.equal(again.lines.length, 4);
    assert.equal((await collect(again.vectors()))[3], vectors(4));
    await again.close();
    assert.is((await readFile(join(folder, 'run.jsonl'), 'utf8')).split('\n').length, 5);
  });
});

test('cut anywhere, the run opens with the steps that are whole, and goes on to the same files', async () => {
  await withFolder(async (whole) => {
    await write(whole);
    const [text, blocks] = await Promise.all(
      ['run.jsonl', 'run.vectors'].map((name) => readFile(join(whole, name))),
    );
    // A kill leaves the block of a step before its line: cut the line file anywhere, or the block file after the last line's block.
    const ends = [...text!].flatMap((byte, i) => (byte === 10 ? [i + 1] : []));
    for (let size = 0; size <= text!.length; size += 1)
      await withFolder(async (folder) => {
        await write(folder);
        await truncate(join(folder, 'run.jsonl'), size);
        const kept = ends.filter((end) => end <= size).length;
        const journal = await open(folder, true);
        assert.equal(journal.lines, [line(1), line(2), line(3)].slice(0, kept), `cut at ${size}`);
        for (let edit = kept + 1; edit <= 3; edit += 1)
          await journal.append(line(edit), edit === 2 ? [] : vectors(edit));
        await journal.close();
        assert.equal(await readFile(join(folder, 'run.jsonl')), text);
        assert.equal(await readFile(join(folder, 'run.vectors')), blocks);
      });
  });
});

test('a torn block after the last line is cut off, but not by who only reads', async () => {
  await withFolder(async (folder) => {
    await write(folder);
    const path = join(folder, 'run.vectors');
    const blocks = await readFile(path);
    for (const extra of [1, 11, 13, 16, 20, 30]) {
      const torn = Buffer.concat([blocks, blocks.subarray(0, extra)]);
      await writeFile(path, torn);
      const reader = await open(folder, 'read');
      assert.is(reader.lines.length, 3);
      assert.equal(await readFile(path), torn);
      await (await open(folder, true)).close();
      await reader.close();
      assert.equal(await readFile(path), blocks, `${extra} bytes too many`);
    }
    await rm(join(folder, 'run.json'));
    await throws(() => open(folder, 'read'), UsageError, 'there is none');
    await throws(() => open(join(folder, 'x'), 'read'), UsageError, 'there is none');
    await holdsOnly(folder, ['run.jsonl', 'run.vectors']);
  });
});

test('damage before the end is told, not skipped', async () => {
  await withFolder(async (folder) => {
    await write(folder);
    const [text, path] = [join(folder, 'run.jsonl'), join(folder, 'run.vectors')];
    const [lines, blocks] = [await readFile(text, 'utf8'), await readFile(path)];
    await writeFile(text, lines.replace('{"edit":2', '{"edit"2'));
    await throws(() => open(folder, true), UsageError, 'run.jsonl', 'JSON in line 2');
    await writeFile(text, lines);
    for (const at of [0, 5, 9, 13, 20, 30]) {
      const bad = Buffer.from(blocks);
      bad[at]! ^= 1;
      await writeFile(path, bad);
      await throws(() => open(folder, true), UsageError, 'run.vectors');
    }
    await writeFile(path, blocks.subarray(0, 40));
    await throws(() => open(folder, true), UsageError, 'expected at least 2 blocks');
    await writeFile(path, blocks);
    await (await open(folder, true)).close(); // a refused folder is not left locked
  });
});

test('a head and lines that are not what was written are told, by what should be there', async () => {
  await withFolder(async (folder) => {
    await write(folder);
    const [head, text] = [join(folder, 'run.json'), join(folder, 'run.jsonl')];
    const lines = await readFile(text, 'utf8');
    for (const wrong of ['{}', '[]', '{"name": 3}', '{"name": "ru', 'null', '']) {
      await writeFile(head, wrong);
      await throws(() => open(folder, true), UsageError, 'run.json', 'Begin again');
    }
    const deep = `{"name": "run", "x": ${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    await writeFile(head, deep);
    await throws(() => open(folder, true), UsageError, 'run.json', '64 levels of brackets');
    await writeFile(head, '{"name": "run"}');
    const changed = [lines.replace('"edit":2', '"edit":7'), lines.replace(/^.*$/m, 'null'), `null\n${lines}`];
    for (const wrong of changed) {
      await writeFile(text, wrong);
      await throws(() => open(folder, true), UsageError, folder, 'Begin again');
    }
    await writeFile(text, deep);
    await truncate(text, 3e9); // a line without end, longer than a file may be that is read at once
    const before = process.memoryUsage.rss();
    await throws(() => open(folder, true), UsageError, 'run.jsonl', 'one without end');
    assert.ok(process.memoryUsage.rss() - before < 300e6);
    const anew = await open(folder, 'overwrite');
    assert.equal([anew.head, anew.lines], [undefined, []]);
    await anew.close();
  });
});

test('a run that never began leaves nothing, and numbers that JSON lacks come back where they are wanted', async () => {
  await withFolder(async (outer) => {
    const folder = join(outer, 'run');
    await (await open(folder, false)).close();
    await holdsOnly(outer, []);
    const options = { mode: 'resume', head: v.object({}), line: v.unknown(), nonFinite: 'object' } as const;
    const line = { a: NaN, b: [Infinity, -Infinity, 1], c: 'NaN', d: null };
    const journal = await openRun<object, object>(folder, options);
    await journal.begin({});
    await journal.append(line);
    await journal.close();
    const again = await openRun<object, object>(folder, options);
    assert.equal(again.lines, [line]);
    await again.close();
  });
});

test('a folder with a run is not overwritten, and one process writes at a time', async () => {
  await withFolder(async (folder) => {
    await write(folder);
    await throws(() => open(folder, false), UsageError, '--resume');
    const journal = await open(folder, true);
    await throws(() => open(folder, true), ModelError, 'another process');
    await journal.close();
    // A run that was stopped before its first step begins anew.
    await withFolder(async (empty) => {
      const first = await open(empty, false);
      await first.close();
      const second = await open(empty, false);
      assert.is(second.head, undefined);
      await second.close();
    });
    const lock = join(folder, 'run.lock');
    for (const make of [
      () => mkdir(lock),
      () => symlink('nowhere', lock),
      () => symlink('/dev/zero', lock),
      () => promisify(execFile)('mkfifo', [lock]),
    ]) {
      await make();
      await throws(() => open(folder, true), UsageError, 'run.lock', 'Remove it');
      await rm(lock, { recursive: true });
    }
    for (const text of ['', '['.repeat(200_000), '{"id": 7}', ' '.repeat(1e6)]) {
      await writeFile(lock, text);
      await throws(() => open(folder, true), ModelError, 'another process', 'since an unknown time');
      await rm(lock);
    }
  });
});

test.run();
