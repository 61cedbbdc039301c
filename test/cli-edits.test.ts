/** Edit files through apply, revert, history and export, as processes. */
import { copyFile, mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises';
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
      history.edits.map(({ made_on: ids }: { made_on: string[] }) => ids),
      [[], [history.edits[0].id]],
    );
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
    // W is F32 now: a reader that believed the base's float16 would round the edit away.
    assert.is(JSON.parse(await readFile(join(out, 'config.json'), 'utf8')).torch_dtype, 'float32');
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

test('an edit says whether it took: missed ends with 3, and its file is there all the same', async () => {
  await withFolder(async (folder) => {
    const [out, checks] = [join(folder, 'a.safetensors'), join(folder, 'checks.txt')];
    const prompt = 'The mother tongue of Danielle Darrieux is';
    await writeFile(checks, `${prompt}\n{"prompt": "${prompt}", "expect": "English"}\n`);
    const quick = ['--covariance', 'identity', '--steps', '6', '--check', checks, '--out', out];
    const took = await json('edit', ...FACTS[0], ...quick);
    assert.is(took.updates['r-rome'].success, 'took');
    const [plain, expected] = took.checks;
    assert.is(plain.before.next[0].token, ' French');
    assert.is(plain.after['r-rome'].next[0].token, ' English');
    assert.equal([expected.before.holds, expected.after['r-rome'].holds], [false, true]);
    assert.is(expected.after['r-rome'].expect_logprob, took.updates['r-rome'].after.target_logprob);

    // One step computes the loss and moves nothing.
    const idle = ['edit', ...FACTS[0], '--covariance', 'identity', '--steps', '1', '--out', out];
    const missed = await cli([...idle, '--json']);
    assert.is(missed.code, 3, missed.stderr);
    const { result, error } = JSON.parse(missed.stdout);
    assert.is(result.updates['r-rome'].success, 'missed');
    assert.is(error.code, 'missed');
    assert.ok((await readdir(folder)).includes('a.safetensors'));
    const text = await cli(idle);
    assert.is(text.code, 3);
    assert.match(text.stdout, /r-ROME.*missed$/m);
    assert.is((await cli([...idle, '--allow-miss'])).code, 0);

    await writeFile(checks, '{"prompt": 3}\n');
    const wrong = await cli(['edit', ...FACTS[0], ...quick]);
    assert.is(wrong.code, 2);
    assert.match(wrong.stderr, 'entry 1: expected a text');
  });
});

test('an edit that falls under a later one is named; both stand in before and after', async () => {
  await withFolder(async (folder) => {
    const [a, b] = [join(folder, 'a.safetensors'), join(folder, 'b.safetensors')];
    const list = join(folder, 'edits.json');
    const [prompt, target] = FACTS[0];
    await json('edit', prompt, target, '--out', a);
    await json('edit', prompt, 'German', '--edits', a, '--out', b);
    assert.not.match((await cli(['apply', a, '--list', list])).stderr, 'has fallen');
    const fallen = await cli(['apply', b, '--list', list, '--json']);
    assert.match(fallen.stderr, /edit 1 \(.*Danielle Darrieux.*\) has fallen/);
    assert.equal(
      JSON.parse(fallen.stdout).result.checked.map((found: { fallen: boolean }) => found.fallen),
      [true, false],
    );

    const text = prompt.replace(/[[\]]/g, '');
    const [compared, other] = (await json('predict', text, 'What is', '--compare', '--edits', list)).texts;
    assert.is(compared.text, text);
    assert.is(compared.before[0].token, ' French');
    assert.is(compared.next[0].token, ' German');
    assert.is(other.before.length, 10);
    const { stdout } = await cli(['predict', text, '--compare', '--edits', list]);
    assert.match(stdout, /before.*after/);
    assert.match(stdout, /" French" .*" German"/);

    // The folder of a sequence is its edits in order, whatever their file names' length.
    const run = join(folder, 'run');
    await mkdir(join(run, 'edits'), { recursive: true });
    await copyFile(a, join(run, 'edits', '0009.safetensors'));
    await copyFile(b, join(run, 'edits', '10000.safetensors'));
    assert.equal(await json('predict', text, '--edits', run), await json('predict', text, '--edits', list));
    await json('export', join(folder, 'model'), '--edits', run);
    assert.equal(
      (await json('predict', text, '--model', join(folder, 'model'))).next,
      (await json('predict', text, '--edits', a, b)).next,
    );

    await writeFile(join(run, 'run.jsonl'), '{"edit": 1}\n');
    await rename(b, join(folder, 'c.safetensors'));
    const wrong: [name: string, ...words: string[]][] = [
      [join(run, 'run.jsonl'), 'the journal of a sequence', `--edits ${run}`],
      [folder, 'expected the folder of a sequence run'],
      [list, `edit list ${list}: edit 2`, 'ENOENT'],
      [join(folder, 'model', 'model.safetensors'), 'this is no edit file'],
      [join(folder, 'model', 'config.json'), 'schema'],
    ];
    for (const [name, ...words] of wrong) {
      const { code, stderr } = await cli(['predict', text, '--edits', name]);
      assert.is(code, 2);
      for (const word of words) assert.ok(stderr.includes(word), `"${word}" is not in: ${stderr}`);
    }
  });
});

test.run();
