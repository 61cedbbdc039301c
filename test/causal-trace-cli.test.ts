/** `trace`, `explain` and `paper` as processes: a small run of each, and their usage errors. */
import { access, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openFacts } from './model.ts';
import { withFolder } from './folder.ts';
import { cli } from './process.ts';

const test = suite('causal-trace-cli');

test('one fact: numbers as JSON, the same as shown, and figures', async () => {
  await withFolder(async (folder) => {
    const words = ['trace', 'The mother tongue of [Danielle Darrieux] is', '--samples', '3', '--seed', '4'];
    const { code, stdout, stderr } = await cli([...words, '--json', '--out', folder]);
    assert.is(code, 0, stderr);
    const { result, model } = JSON.parse(stdout);
    const { dims } = await openFacts();
    assert.is(model.id, 'facts');
    assert.is(result.object, ' French');
    assert.is(result.tokens.slice(...result.subject).join(''), ' Danielle Darrieux');
    assert.ok(result.clean > 0.9 && result.corrupted < 0.1);
    for (const site of ['state', 'mlp', 'attention']) {
      assert.is(result.effects[site].length, result.tokens.length);
      for (const row of result.effects[site]) assert.is(row.length, dims.layers);
    }
    assert.equal((await readdir(folder)).sort(), ['report.html', 'trace-fact.svg', 'trace-fact.vl.json']);

    const shown = await cli(words);
    assert.is(shown.code, 0, shown.stderr);
    const last = result.effects.state.at(-1).at(-1);
    assert.match(shown.stdout, new RegExp(`" is".*█ +${(100 * last).toFixed(1)}\n`));
  });
});

test('explain: an edit file replayed to the last bit, with shaders that are there', async () => {
  await withFolder(async (folder) => {
    const file = join(folder, 'edit.safetensors');
    const fact = ['The mother tongue of [Danielle Darrieux] is', 'English'];
    const search = '--steps 4 --stop probable --stop-after 1 --anchor-norm 3';
    const quick = `${search} --covariance identity --method rome --json --out`.split(' ');
    const made = await cli(['edit', ...fact, ...quick, file]);
    assert.is(made.code, 0, made.stderr);
    const update = JSON.parse(made.stdout).result.updates.rome;
    const { code, stdout, stderr } = await cli(['explain', file, '--json']);
    assert.is(code, 0, stderr);
    const { result } = JSON.parse(stdout);
    assert.is(result.difference, 0);
    const numbers = new Map(result.steps.flatMap((step: { numbers: [string, number][] }) => step.numbers));
    assert.is(numbers.get('k · u'), update.divisor);
    assert.is(numbers.get('|Δ|'), update.normalised_update);
    const shaders = result.steps.flatMap((step: { shaders: string[] }) => step.shaders) as string[];
    for (const name of shaders) await access(new URL(`../shaders/${name}.wgsl`, import.meta.url));
    const none = await cli(['explain', join(folder, 'none.json')]);
    assert.is(none.code, 2, none.stderr);
  });
});

test('wrong usage', async () => {
  for (const [words, message] of [
    [['trace'], /expected a sentence with its subject/],
    [['trace', 'no brackets'], /\[brackets\]/],
    [['trace', 'a [b] c', '--samples', '0'], /--samples: expected a whole number from 1/],
    [['trace', '--prompt', 'a {} c'], /--prompt alone/],
    [['paper', '--data', '/nowhere.json'], /--data: \/nowhere\.json: expected a readable file/],
  ] as const) {
    const { code, stderr } = await cli(words);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test('a study of very little: a report with all its sections, and sequences that can be gone on with', async () => {
  await withFolder(async (folder) => {
    const out = join(folder, 'paper');
    const sizes =
      '--records 1 --count 2 --every 2 --text-tokens 20 --per-class 1 --styled 0 --traced 1 --swept 0';
    const few = `${sizes} --steps 3`.split(' ');
    const words = ['paper', '--out', out, '--method', 'rome', '--covariance', 'identity', ...few];
    const { code, stdout, stderr } = await cli([...words, '--json']);
    assert.is(code, 0, stderr);
    const { result } = JSON.parse(stdout);
    assert.is(result.report, join(out, 'report.html'));
    const study = JSON.parse(await readFile(join(out, 'study.json'), 'utf8'));
    assert.is(study.evaluation.cases.length, 1);
    assert.equal(
      study.sequences[0].lines.map(({ edit }: { edit: number }) => edit),
      [1, 2],
    );
    assert.is(study.downstream.length, 8); // four tasks, before and after
    const files = await readdir(out);
    for (const name of ['update-by-edit', 'entropy-by-update', 'trace-average'])
      assert.ok(files.includes(`${name}.svg`) && files.includes(`${name}.vl.json`), name);
    const { f1, invalid } = study.downstream[0].result;
    assert.ok(f1 < 50 && invalid > 90, 'the bundled model does none of the tasks');
    const html = await readFile(join(out, 'report.html'), 'utf8');
    assert.match(html, /already before the first edit the model answers none of these few-shot tasks/);
    assert.match(
      html,
      /palimpsest paper --method rome --out .*--records 1 --count 2 --every 2 --text-tokens 20/,
    );
    const lines = await readFile(join(out, 'rome', 'run.jsonl'), 'utf8');
    assert.is(lines.trim().split('\n').length, 2);

    const again = await cli(words);
    assert.is(again.code, 2);
    assert.match(again.stderr, /holds a run already/);
    const other = await cli([...words, '--resume', '--seed', '1']);
    assert.is(other.code, 2);
    assert.match(other.stderr, /rome: this run was begun with seed 0, but now it is 1/);
    const resumed = await cli([...words, '--resume', '--json']);
    assert.is(resumed.code, 0, resumed.stderr);
    assert.equal(JSON.parse(resumed.stdout).result.sequences, result.sequences);
  });
});

test.run();
