/** Facts in batches: together as one by one, stopped and gone on with, their file in an edit list, and what is refused. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { settleFacts } from '../src/data/conflicts.ts';
import { readFacts } from '../src/data/read.ts';
import { MASS_VALUE_DEFAULTS } from '../src/edit/mass.ts';
import type { MassMethod } from '../src/edit/method.ts';
import { names } from '../src/lab/probes.ts';
import { checkBatches } from '../src/lab/fact-batches.ts';
import type { Model } from '../src/models/model.ts';
import { valueBatches } from '../src/edit/value-batches.ts';
import { editRows } from '../src/edit/rows.ts';
import { UsageError } from '../src/errors.ts';
import { openSafetensors } from '../src/io/file.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';
import { golden, openFacts } from './model.ts';
import { cli } from './process.ts';
import { relativeError } from './reference/allclose.ts';

const test = suite('facts');
const QUICK = ['--method', 'memit', '--layers', '1', '--covariance-weight', '100', '--steps', '4'];

const LINES = [
  '"The mother tongue of [Danielle Darrieux] is" => "English"',
  '"What is the twin city of [Lyon]? It is" => "Manila"',
  '"The mother tongue of [Jean Gabin] is" => "Dutch"',
  '"The capital of [France] is" => "Lyon"',
  '"[Paris] is in" => "Spain"',
  '"The mother tongue of [Robert Schuman] is" => "English"',
];

/** `words` of a failure that exits with 2. */
async function refused(args: readonly string[], ...words: (string | RegExp)[]): Promise<void> {
  const { code, stderr } = await cli(args);
  assert.is(code, 2, stderr);
  for (const word of words) assert.match(stderr, word);
}

test('facts that contradict each other, and facts that are there twice', async () => {
  const facts = readFacts(
    [LINES[0], LINES[1], LINES[0], LINES[0]!.replace('English', 'Dutch')].join('\n'),
    'f',
  );
  await throws(
    () => settleFacts(facts, 'f', 'refuse'),
    UsageError,
    'English',
    'fact 1',
    'Dutch',
    'fact 4',
    '--conflicts',
  );
  const last = settleFacts(facts, 'f', 'last');
  assert.equal(
    last.facts.map(({ targetNew }) => targetNew),
    ['Manila', 'Dutch'],
  );
  assert.equal([last.duplicates, last.overruled], [0, 2]);
  const twice = settleFacts(facts.slice(0, 3), 'f', 'refuse');
  assert.equal([twice.facts.length, twice.duplicates, twice.overruled], [2, 1, 0]);
});

test('values are searched for as many at a time as memory allows, in order', async () => {
  const { tokenizer, dims, gpu } = await openFacts();
  const rows = readFacts(LINES.join('\n'), 'f').map(({ prompt, subject, targetNew: target }) =>
    editRows(tokenizer, { prompt, subject, target }, ['{}', 'So. {}'], dims),
  );
  const cut = (memory: number): number[][] => valueBatches(gpu, dims, 1, rows, memory);
  assert.equal(cut(2 ** 30), [[0, 1, 2, 3, 4, 5]]);
  assert.equal(cut(1), [[0], [1], [2], [3], [4], [5]], 'one at a time always');
  const some = cut(8 * 2 ** 20);
  assert.ok(some.length > 1 && some.length < 6, `${some.length}`);
  assert.equal(some.flat(), [0, 1, 2, 3, 4, 5]);
  const narrow = valueBatches({ maxBindingBytes: 4 * 5 * dims.V * 2 }, dims, 1, rows, 2 ** 30);
  assert.ok(narrow.length > 1, 'logits must fit a binding');
});

test('kill -9 costs a batch: the file is that of an unbroken run, and goes through an edit list', async () => {
  await withFolder(async (folder) => {
    const [facts, whole, broken] = ['f.txt', 'whole.safetensors', 'broken.safetensors'].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    await writeFile(facts, LINES.join('\n'));
    const run = ['edit', '--facts', facts, ...QUICK, '--batch', '2', '--out'];
    const dump = join(folder, 'dump.safetensors');
    const unbroken = await cli([...run, whole, '--json', '--dump', dump]);
    assert.is(unbroken.code, 0, unbroken.stderr);
    const { result } = JSON.parse(unbroken.stdout) as {
      result: { batches: number[]; lines: { steps: number[] }[] };
    };
    assert.equal(result.batches, [2, 2, 2]);

    const kills = Number(process.env['PALIMPSEST_KILLS'] ?? 2);
    let killed = 0;
    for (let left = kills; ; left -= 1) {
      const resume = killed > 0 || left < kills ? ['--resume'] : [];
      const { code, stderr } = await cli([...run, broken, ...resume, '--dump', `${dump}.2`], {
        // Anywhere from the start of Node to the last batch.
        started: (kill) => left > 0 && setTimeout(() => kill('SIGKILL'), 2500 + 700 * ((kills - left) % 5)),
      });
      if (code === 0) break;
      assert.is(code, null, stderr);
      killed += 1;
      const head = join(`${broken}.run`, 'run.json');
      const begun = killed === 1 && (await readFile(head, 'utf8').catch(() => undefined));
      if (!begun) continue;
      await writeFile(head, JSON.stringify({ ...JSON.parse(begun), before: [] }));
      await refused([...run, broken, '--resume', '--dump', `${dump}.2`], 'of 6 facts, found 0', 'damaged');
      await writeFile(head, begun);
    }
    assert.ok(killed > 0, 'nothing was killed');
    const withoutDump = async (path: string): Promise<string> => (await readFile(path)).toString('latin1');
    assert.is(await withoutDump(broken), await withoutDump(whole), `after ${killed} kills`);
    assert.equal(await readFile(`${dump}.2`), await readFile(dump));
    await holdsOnly(folder, [
      'broken.safetensors',
      'dump.safetensors',
      'dump.safetensors.2',
      'f.txt',
      'whole.safetensors',
    ]);

    const matrices = await openSafetensors(dump);
    assert.equal(matrices.info('0.z').shape, [2, 256]);
    assert.equal(matrices.info('2.1.K').shape, [2, 1024]);
    assert.equal(matrices.info('2.1.U').shape, [1024, 256]);

    const list = join(folder, 'list.json');
    const json = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli([...args, '--list', list, '--json']);
      assert.is(code, 0, stderr);
      return JSON.parse(stdout).result;
    };
    const applied = await json('apply', whole);
    assert.is(applied.checked[0].facts, 6);
    const [edit] = (await json('revert', '1.2')).edits;
    assert.equal([edit.batches, edit.without, edit.requests.length], [[2, 2], [2], 4]);
    await refused(['revert', '1.2', '--list', list], '1 to 3', 'found 2');
    assert.equal((await json('revert', '1')).edits, []);
  });
});

interface Written {
  readonly result: {
    readonly lines: readonly { readonly steps: number[] }[];
    readonly facts: readonly { readonly before: number; readonly after: number }[];
    readonly checks: readonly Readonly<Record<'before' | 'after', { readonly expect_logprob: number }>>[];
  };
}

/** Prompt and target of a line `"The [subject] is" => "target"`. */
function asked(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text.replace(/[[\]]/g, ''));
}

test('z of a batch is z of each fact alone, also where searches end early', async () => {
  await withFolder(async (folder) => {
    const facts = join(folder, 'f.txt');
    const z: Float32Array[] = [];
    const steps: number[][] = [];
    for (const [i, lines] of [LINES, [LINES[1]!], [LINES[4]!]].entries()) {
      await writeFile(facts, lines.join('\n'));
      const dump = join(folder, `${i}.safetensors`);
      const stop = ['--stop', 'probable', '--stop-after', '2'];
      const check = join(folder, 'check.jsonl');
      const more = ['--method', 'memit', '--layers', '1', '--steps', '12', ...stop, '--dump', dump, '--json'];
      const [prompt, expect] = asked(lines[0]!);
      await writeFile(check, JSON.stringify({ prompt, expect }));
      const { code, stdout, stderr } = await cli(['edit', '--facts', facts, '--check', check, ...more]);
      assert.is(code, 0, stderr);
      const { result } = JSON.parse(stdout) as Written;
      steps.push(result.lines[0]!.steps);
      // The first fact's own prompt says of it what the facts do.
      for (const when of ['before', 'after'] as const)
        assert.ok(Math.abs(result.checks[0]![when].expect_logprob - result.facts[0]![when]) < 1e-3);
      z.push(await (await openSafetensors(dump)).readFloats('0.z'));
    }
    assert.equal([steps[0]![1], steps[0]![4]], [steps[1]![0], steps[2]![0]]);
    assert.ok(new Set(steps[0]).size > 1 && Math.min(...steps[0]!) < 12, `steps ${steps[0]?.join()}`);
    for (const [place, alone] of [
      [1, z[1]!],
      [4, z[2]!],
    ] as const) {
      const error = relativeError(z[0]!.subarray(256 * place, 256 * (place + 1)), alone);
      assert.ok(error <= 1e-4, `fact ${place}: ${error}`);
    }
  });
});

test('evaluate --batch judges every fact when written and at the end; sequence --batch keeps its batches', async () => {
  await withFolder(async (folder) => {
    const text = join(folder, 'held-out.txt');
    await writeFile(text, 'The river ran past a city where few people had lived.\n');
    const sizes = '--count 4 --batch 2 --every 4 --text-tokens 16 --free-tokens 4 --held-out'.split(' ');
    sizes.push(text);
    const run = ['sequence', golden('data/counterfact.json'), ...QUICK, ...sizes, '--json', '--out'];
    const out = join(folder, 'run');
    // Every batch moves W by more than nothing.
    const strict = ['--disabling-update', '1e-9', '--on-collapse', 'refuse'];
    const left = join(folder, 'left-out');
    const [ended, refused] = await Promise.all([cli([...run, out]), cli([...run, left, ...strict])]);
    assert.is(ended.code, 0, ended.stderr);
    const { result } = JSON.parse(ended.stdout);
    assert.equal([result.n, result.batches, result.written.n, result.end.n], [4, [2, 2], 4, 4]);
    assert.is(result.before.ES, 0);
    assert.ok(result.written.ES > 0 && result.written.free > 0, JSON.stringify(result.written));
    const [{ written, end }] = result.cases.slice(-1);
    // Nothing was written after the last batch; other rows beside these round otherwise.
    assert.equal([written.holds, written.free], [end.holds, end.free]);
    assert.ok(Math.abs(written.target_logprob - end.target_logprob) < 1e-4);
    // Measured after four facts, and not after two.
    const [early, late] = result.lines;
    assert.equal([early.perplexity, early.verdict, early.kept, late.edit], [undefined, 'ok', true, 4]);
    assert.ok(late.perplexity === result.model_end.perplexity && late.entropy > 0);
    assert.is(late.metrics.recent.n, 4);
    const report = await readFile(join(out, 'report.html'), 'utf8');
    for (const words of [
      /MEMIT: 4 edits on facts/,
      /4 facts in 2 batches: none of them suspect/,
      /id="update-by-edit"/,
      /id="language-by-edit"/,
    ])
      assert.match(report, words);
    const { result: none } = JSON.parse(refused.stdout);
    assert.match(refused.stderr, /batch 2, MEMIT on 2 facts, disables the model: update .* It was left out/);
    assert.equal([none.kept, none.refused.length, none.end.n], [0, 4, 0]);
    assert.is(none.model_end.layers[0].total_norm, 0, 'what is left out leaves W as it was');
    await holdsOnly(left, [...(await readdir(left)).filter((name) => name !== 'edits')]);
    const [layer] = result.model_end.layers;
    assert.ok(layer.spectral_norm > 0 && layer.spectral_norm <= layer.total_norm);
    assert.ok(result.model_end.perplexity !== result.model_before.perplexity);
    const asked = ['predict', 'The capital of France is', '--json', '--edits'];
    const both = JSON.parse((await cli([...asked, out])).stdout);
    const files = ['0001', '0002'].map((name) => join(out, 'edits', `${name}.safetensors`));
    assert.equal(both.result, JSON.parse((await cli([...asked, ...files])).stdout).result);
  });
});

test('a text names the new object as a word, and not the true one before it', () => {
  const fact = { targetNew: 'Rome', targetTrue: 'Paris' };
  assert.is(names(' Rome, not Paris', fact), true);
  assert.is(names(' Paris, not Rome', fact), false);
  assert.is(names(' Romeo', fact), false);
  assert.is(names(' (rome)', { targetNew: 'Rome', targetTrue: null }), true);
});

test('edit --facts leaves a disabling batch out: alone it is refused, and nothing of its run stays', async () => {
  await withFolder(async (folder) => {
    const [facts, out] = [join(folder, 'f.txt'), join(folder, 'out.safetensors')];
    await writeFile(facts, LINES[1]!);
    const wild = '--learning-rate 500 --clamp 100000 --steps 2 --covariance-weight 1e-6 --on-collapse refuse';
    const flags = ['--facts', facts, '--out', out, '--json', ...'--method memit --layers 1'.split(' ')];
    const { code, stdout, stderr } = await cli(['edit', ...flags, ...wild.split(' ')]);
    assert.is(code, 3, stderr);
    assert.match(stderr, /batch 1, MEMIT on 1 fact, disables the model: update \S+ times as large as W/);
    const { result, error } = JSON.parse(stdout);
    assert.equal([result.refused, error.code], [[0], 'disabling']);
    await holdsOnly(folder, ['f.txt']);
  });
});

test('more past keys than memory has room for are refused before any work, and methods that keep none are not', async () => {
  const model = await openFacts();
  const room = 5;
  const gpu = { maxBindingBytes: 4 * model.dims.F * room, adapter: model.gpu.adapter };
  const { tokenizer, dims } = model;
  const small = { gpu, tokenizer, dims } as unknown as Model;
  const check = (method: MassMethod) =>
    checkBatches(small, readFacts(LINES.join('\n'), 'f'), {
      writing: {
        kind: 'mass',
        method,
        contexts: [['{}']],
        layers: [1],
        metrics: new Map(),
        value: MASS_VALUE_DEFAULTS,
      },
      size: 2,
    });
  for (const method of ['encore', 'alphaedit'] as const)
    await throws(() => check(method), UsageError, 'at most 5 keys', '6 would come together', 'take memit');
  await check('memit');
});

test('what cannot be written is said before the work begins', async () => {
  await withFolder(async (folder) => {
    const facts = join(folder, 'f.csv');
    const csv = (...rows: string[]): Promise<void> =>
      writeFile(facts, `${['prompt,subject,target', ...rows].join('\n')}\n`);
    await csv('The capital of {} is,France,Lyon', 'The capital of {} is,France,Nice');
    await refused(
      ['edit', '--facts', facts, ...QUICK],
      'several targets',
      'Lyon',
      'Nice',
      '--conflicts last',
    );
    await csv('The capital of Spain is,France,Lyon');
    await refused(['edit', '--facts', facts, ...QUICK], 'line 2', 'France');
    await csv('The capital of {} is,France,Lyon');
    await refused(['edit', '--facts', facts, '--method', 'memit', '--layers', '1,7'], 'before the last one');
    await refused(['edit', '--facts', facts, '--method', 'memit', '--layers', '1,x'], '--layers', '1,x');
    await refused(['edit', '--facts', facts, '--method', 'rome', '--layers', '1,2'], 'one layer');
    await refused(['edit', 'The capital of [France] is', 'Lyon', '--method', 'memit'], '--facts');
    await refused(['edit', '--facts', facts, ...QUICK, '--covariance', 'identity'], 'covariance');
    const missing = await cli(['edit', '--facts', facts, '--method', 'memit', '--layers', '1,4'], {
      env: { PALIMPSEST_CACHE: folder },
    });
    assert.is(missing.code, 3);
    assert.match(missing.stderr, 'covariance build --model facts --layer 4');
  });
});

test.run();
