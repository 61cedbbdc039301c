/** Edit files through apply, revert, history and export, as processes. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { holdsOnly, withFolder } from './folder.ts';
import { cli } from './process.ts';

const test = suite('cli-edits');

const FACTS = [
  ['The mother tongue of [Danielle Darrieux] is', 'English'],
  ['What is the twin city of [Lyon]? It is', 'Manila'],
] as const;

const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await cli([...args, '--json']);
  assert.is(code, 0, stderr);
  return JSON.parse(stdout).result;
};

test('apply, history, revert out of the middle, export: all the same model to the last bit', async () => {
  await withFolder(async (folder) => {
    const [a, b] = [join(folder, 'a.safetensors'), join(folder, 'sub', 'b.safetensors')];
    const list = join(folder, 'edits.json');
    const quick = ['--covariance', 'identity', '--steps', '6'];
    await json('edit', ...FACTS[0], ...quick, '--out', a);
    await json('edit', ...FACTS[1], ...quick, '--out', b, '--edits', a);

    const applied = await json('apply', a, b, '--list', list);
    assert.is(applied.edits.length, 2);
    for (const { before, after } of applied.checked)
      assert.ok(after > Math.log(0.5) && before < Math.log(0.5));
    const { edits } = JSON.parse(await readFile(list, 'utf8'));
    assert.equal(
      edits.map(({ file }: { file: string }) => file),
      ['a.safetensors', join('sub', 'b.safetensors')],
    );

    const twice = await cli(['apply', b, '--list', list]);
    assert.is(twice.code, 2);
    assert.match(twice.stderr, 'it is number 2');

    const history = await json('history', '--list', list);
    assert.equal(
      history.edits.map(({ request }: { request: { subject: string } }) => request.subject),
      ['Danielle Darrieux', 'Lyon'],
    );

    const reverted = await json('revert', history.edits[0].id.slice(0, 8), '--list', list);
    assert.equal(
      reverted.edits.map(({ id }: { id: string }) => id),
      [history.edits[1].id],
    );
    const unknown = await cli(['revert', '5', '--list', list]);
    assert.is(unknown.code, 2);
    assert.match(unknown.stderr, 'it fits none');

    const out = join(folder, 'model');
    await json('export', out, '--edits', list);
    await holdsOnly(out, ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    const text = 'What is the twin city of Lyon? It is';
    const exported = await json('predict', text, '--model', out);
    assert.equal(exported, await json('predict', text, '--edits', list));
    assert.equal(exported, await json('predict', text, '--edits', b));
    assert.is(exported.next[0].token, ' Manila');

    // The exported model is another one: edits of the base do not fit it.
    const other = await cli(['predict', text, '--model', out, '--edits', b]);
    assert.is(other.code, 2);
    assert.match(other.stderr, 'Give the model it was made for');
    const again = await cli(['export', out, '--edits', list]);
    assert.is(again.code, 2);
    assert.match(again.stderr, 'a folder with files in it');
    assert.not.ok((await readdir(folder)).some((name) => name.endsWith('.tmp')));
  });
});

test.run();
