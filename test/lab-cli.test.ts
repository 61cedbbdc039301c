/** `evaluate` and `sequence` as commands: what --json promises, what is listed, and what is refused. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { withFolder } from './folder.ts';
import { cli } from './process.ts';

const test = suite('lab-cli');
const DATA = fileURLToPath(new URL('golden/data/counterfact.json', import.meta.url));
const QUICK = '--layer 1 --covariance identity --steps 2'.split(' ');

/** `words` of a quick edit, and `short` where a text is followed: a short one. */
async function withContexts(
  use: (folder: string, words: string[], short: string[]) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const [contexts, text] = [join(folder, 'contexts.json'), join(folder, 'held-out.txt')];
    await writeFile(contexts, '["{}", "In short. {}"]');
    await writeFile(text, 'The river ran past a city where few people had lived.\n');
    await use(folder, [...QUICK, '--contexts', contexts], ['--held-out', text]);
  });
}

/** The data with the relation that reference texts are found by, in its first record. */
async function withRelation(): Promise<string> {
  const records = JSON.parse(await readFile(DATA, 'utf8')) as {
    requested_rewrite: { relation_id?: string; target_new: { id?: string } };
  }[];
  const rewrite = records[0]!.requested_rewrite;
  rewrite.relation_id = 'P103';
  rewrite.target_new.id = 'Q1860';
  return JSON.stringify(records);
}

test('evaluate --json: percentages with intervals, one object a case', async () => {
  await withContexts(async (folder, words) => {
    const references = join(folder, 'references.json');
    await writeFile(references, '{"P103": {"Q1860": [{"text": "English is spoken in England."}]}}');
    const data = join(folder, 'facts.json');
    await writeFile(data, await withRelation());
    const more = ['--count', '2', '--text-tokens', '16', '--references', references, '--json'];
    const { code, stdout, stderr } = await cli(['evaluate', data, ...words, ...more]);
    assert.is(code, 0, stderr);
    const document = JSON.parse(stdout) as {
      schema: number;
      command: string;
      result: Record<string, unknown>;
    };
    assert.is(document.schema, 1);
    assert.is(document.command, 'evaluate');
    const { result } = document;
    assert.is(result['n'], 2);
    assert.is(result['method'], 'r-rome');
    for (const name of ['ES', 'PS', 'NS', 'S', 'EM', 'PM', 'NM'])
      assert.ok((result[name] as number) >= 0 && (result[name] as number) <= 100, name);
    for (const name of ['ES_diff', 'PS_diff', 'NS_diff', 'GE']) assert.type(result[name], 'number', name);
    const [low, high] = (result['interval'] as Record<string, number[]>)['NS']!;
    assert.ok(low! <= (result['NS'] as number) && high! >= (result['NS'] as number));
    const cases = result['cases'] as Record<string, unknown>[];
    assert.equal(
      cases.map((one) => one['case_id']),
      [0, 4],
    );
    for (const name of [
      'update_norm',
      'normalised_update',
      'divisor',
      'cosine',
      'verdict',
      'metrics',
      'logprobs',
      'texts',
    ])
      assert.ok(cases[0]![name] !== undefined, name);
    assert.type(cases[0]!['RS'], 'number');
    assert.is(cases[1]!['RS'], undefined, 'a record without reference texts');
    const rows = cases[0]!['prompts'] as { kind: string; prompt: string; won: string | null }[];
    assert.is(rows[0]!.prompt, 'The mother tongue of Danielle Darrieux is');
    const near = rows.filter(({ kind }) => kind === 'neighbourhood');
    const { NS } = cases[0]!['metrics'] as { NS: number };
    assert.is(near.filter(({ won }) => won === 'true').length / near.length, NS);
    assert.equal(result['missing'], []);
  });
});

test('the shards of an evaluation, merged, are the evaluation; a merge without one of them is refused', async () => {
  await withContexts(async (folder, words) => {
    const run = ['evaluate', DATA, ...words, '--count', '3', '--text-tokens', '0', '--json'];
    const [zero, one] = [join(folder, '0'), join(folder, '1')] as const;
    const all = await Promise.all([
      cli(run),
      cli([...run, '--shard', '0/2', '--out', zero]),
      cli([...run, '--shard', '1/2', '--out', one]),
    ]);
    for (const { code, stderr } of all) assert.is(code, 0, stderr);
    const merged = await cli(['evaluate', 'merge', one, zero, '--json']);
    assert.is(merged.code, 0, merged.stderr);
    const { folder: _, ...whole } = (JSON.parse(all[0].stdout) as { result: Record<string, unknown> }).result;
    const { result } = JSON.parse(merged.stdout) as { result: Record<string, unknown> };
    assert.is((result['cases'] as unknown[]).length, 3);
    near(result, whole, 'result');
    const alone = await cli(['evaluate', 'merge', zero]);
    assert.is(alone.code, 2);
    assert.match(alone.stderr, /expected all 2 shards, 1 of 0 to 1 is missing/);
  });
});

/** The same, but for what rounding makes of other facts beside one: a part in a thousand. */
function near(got: unknown, want: unknown, path: string): void {
  if (typeof want === 'number' && typeof got === 'number')
    return assert.ok(Math.abs(got - want) <= 1e-3 * (1 + Math.abs(want)), `${path}: ${got}, whole ${want}`);
  if (typeof want !== 'object' || want === null) return assert.equal(got, want, path);
  const [a, b] = [got, want] as Record<string, unknown>[];
  assert.equal(Object.keys(a ?? {}).sort(), Object.keys(b ?? {}).sort(), path);
  for (const [key, value] of Object.entries(want)) near(a?.[key], value, `${path}.${key}`);
}

test('evaluate --find-disabling --method all lists by method and measures nothing', async () => {
  await withContexts(async (_, words) => {
    const more = ['--count', '1', '--method', 'all', '--find-disabling', '--suspect-cosine', '2'];
    const json = await cli(['evaluate', DATA, ...words, ...more, '--json']);
    assert.is(json.code, 0, json.stderr);
    const { result } = JSON.parse(json.stdout) as {
      result: { ES?: number; dangerous: { method: string; verdict: string }[] };
    };
    assert.is(result.ES, undefined);
    assert.equal(result.dangerous.map(({ method }) => method).sort(), ['p-rome', 'r-rome', 'rome']);
    const people = await cli(['evaluate', DATA, ...words, ...more]);
    assert.match(people.stdout, /0 disabling and 3 suspect edits/);
  });
});

test('sequence: refuses on request, keeps on warning, and says so in each line', async () => {
  await withContexts(async (folder, words, short) => {
    // Every edit counts as disabling.
    const guard = ['--disabling-cosine', '2', '--count', '2', '--every', '1', '--text-tokens', '0'];
    const downstream = ['--downstream-every', '2', '--downstream-tasks', 'cola', '--per-class', '2'];
    for (const [choice, kept] of [
      ['refuse', false],
      ['warn', true],
    ] as const) {
      const out = join(folder, choice);
      const more = ['--on-collapse', choice, '--out', out, ...downstream, '--json'];
      const { code, stdout, stderr } = await cli(['sequence', DATA, ...words, ...short, ...guard, ...more]);
      assert.is(code, 0, stderr);
      assert.match(stderr, /edit 2, r-ROME on "Lyon", disables the model/);
      const lines = (await readFile(join(out, 'run.jsonl'), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.equal(
        lines.map((line) => [line['edit'], line['verdict'], line['kept']]),
        [
          [1, 'disabling', kept],
          [2, 'disabling', kept],
        ],
      );
      assert.is(lines[1]!['total_norm'] === 0, !kept);
      assert.is((lines[0]!['metrics'] as { recent: { n: number } }).recent.n, kept ? 1 : 0);
      assert.is((lines[1]!['downstream'] as { task: string }[])[0]!.task, 'cola');
      const head = JSON.parse(await readFile(join(out, 'run.json'), 'utf8')) as {
        before: { perplexity: number; downstream: unknown[] };
      };
      assert.ok(
        head.before.perplexity > 1 && head.before.downstream.length === 1,
        'measured before the first edit',
      );
      const { result } = JSON.parse(stdout) as { result: Record<string, unknown> };
      assert.equal(result['refused'], kept ? [] : [1, 2]);
      assert.is(result['edit'], 2);
      const survival = result['survival'] as { kept: number; edits: { edit: number; by: string }[] };
      assert.is(survival.kept, kept ? 2 : 0);
      assert.equal(JSON.parse(await readFile(join(out, 'end.json'), 'utf8')), survival);
      const files = await readdir(join(out, 'edits')).catch(() => []);
      assert.equal(files, kept ? ['0001.safetensors', '0002.safetensors'] : []);
      assert.match(await readFile(join(out, 'report.html'), 'utf8'), /<html/);
    }
  });
});

test('CSV without true objects: measures that are missing are named, and edits judged by arg-max', async () => {
  await withContexts(async (folder, words, short) => {
    const data = join(folder, 'facts.csv');
    await writeFile(
      data,
      'prompt,subject,target\nThe mother tongue of {} is,Danielle Darrieux,English\n"{}, a native",Louis Jouvet,Dutch\n',
    );
    const out = join(folder, 'run');
    const shown = await cli(['sequence', data, ...words, ...short, '--text-tokens', '0', '--out', out]);
    assert.is(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /EM recent/);
    assert.match(shown.stdout, /After the last edit \d of 2 kept edits hold/);
    assert.match(shown.stdout, /ES, PS, NS and S are missing: no record names a true object/);
    // The folder is the run's result: its edits, in their order, are what the last line measured.
    const [last] = (await readFile(join(out, 'run.jsonl'), 'utf8')).trim().split('\n').slice(-1);
    const line = JSON.parse(last!) as { target_logprob: number; metrics: { recent: { n: number } } };
    assert.is(line.metrics.recent.n, 2);
    const end = JSON.parse(await readFile(join(out, 'end.json'), 'utf8')) as {
      edits: { by: string; target_logprob: number }[];
    };
    assert.equal(
      end.edits.map(({ by }) => by),
      ['arg-max', 'arg-max'],
    );
    const predicted = await cli(['predict', 'Louis Jouvet, a native', '--edits', out, '--json']);
    assert.is(predicted.code, 0, predicted.stderr);
    const { next } = (
      JSON.parse(predicted.stdout) as { result: { next: { token: string; logprob: number }[] } }
    ).result;
    const dutch = next.find(({ token }) => token === ' Dutch');
    assert.ok(dutch && Math.abs(dutch.logprob - line.target_logprob) < 1e-3, JSON.stringify(next));
  });
});

test('what cannot be used ends with 2 before a model is loaded', async () => {
  const cases: [args: string[], ...words: string[]][] = [
    [['evaluate', '/nonexistent.json'], '/nonexistent.json', 'ENOENT'],
    [['evaluate', DATA, '--from', '20'], '--from', '20 of'],
    [['evaluate', DATA, '--count', '0'], '--count: expected a whole number from 1'],
    [['evaluate', DATA, '--references', DATA + 'x'], '--references', 'ENOENT'],
    [['sequence', DATA, '--method', 'all'], 'one method'],
    [
      ['sequence', DATA, '--downstream-every', '2', '--downstream-tasks', 'mnli'],
      '--downstream-tasks',
      'mnli',
    ],
  ];
  const all = await Promise.all(cases.map(async ([args, ...words]) => ({ words, ...(await cli(args)) })));
  for (const { words, code, stdout, stderr } of all) {
    assert.is(code, 2, stderr);
    assert.is(stdout, '');
    for (const word of words) assert.ok(stderr.includes(word), `expected ${word} in ${stderr}`);
  }
});

test.run();
