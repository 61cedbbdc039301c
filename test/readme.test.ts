/**
 * Every command line between the README's fences is run, in its order and in one folder: what one writes, the next reads.
 * So is every example of every command's --help. Long ones are made short by the words below; whatever they do not know
 * is run as it stands.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Argv } from 'yargs';
import { COMMANDS, type Commands } from '../cli/commands.ts';
import { folderOf } from './folder.ts';
import { cli } from './process.ts';
import type { Ended } from './process.ts';
import { fenced } from './readme.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const test = suite('readme');
const folder = folderOf(test);

/** What makes a line small enough for a test: the bundled model, a text that is at hand, few tokens, facts and steps. */
const SMALLER: readonly (readonly [RegExp, string])[] = [
  [/--model \S+ --layer \d+/, '--model facts --layer 1'],
  [/--corpus \S+/, `--corpus ${root}data/wikitext.txt`],
  [/(covariance build .*)--tokens \d+/, '$1--tokens 4096'],
  [/--shard auto\/\d+ --out \S+/, '--shard auto/2 --tokens 4096 --out shard.safetensors'],
  [/ --count \d+/, ''],
  [/^(evaluate|sequence)/, '$1 --count 1 --steps 4 --text-tokens 12'],
  [/^(sequence|evaluate .*--batch \S+)/, '$1 --held-out held-out.txt'],
  [/^trace/, 'trace --samples 2'],
  [/^bench edit --model-size \S+/, 'bench edit --model facts --runs 1 --steps 4'],
  [/^bench matmul$/, 'bench gelu --budget 1'],
];

const lines = fenced('')
  .flatMap((block) => block.split('\n'))
  .flatMap((line) => /^palimpsest (.*?)(?: {2,}#.*)?$/.exec(line)?.[1] ?? []);

const smaller = (line: string): string => SMALLER.reduce((text, [from, to]) => text.replace(from, to), line);

/** `$0 ...` of every command's --help, in the order of the commands. */
async function examples(commands: Commands): Promise<string[]> {
  const found: string[] = [];
  for (const [, what] of Object.values(commands)) {
    if (typeof what === 'object') {
      found.push(...(await examples(what)));
      continue;
    }
    const yargs: unknown = new Proxy(
      {},
      {
        get:
          (_, name) =>
          (...words: readonly unknown[]): unknown => {
            if (name === 'example') found.push(String(words[0]));
            return yargs;
          },
      },
    );
    (await what()).builder(yargs as Argv);
  }
  return found;
}

const helped = (await examples(COMMANDS)).map((line) => line.replace(/^\$0 /, ''));

test.before(() => {
  // The reader's own facts.
  const facts = ['The mother tongue of {} is,Danielle Darrieux,English', '{} was created by,Apple A5,Google'];
  writeFileSync(join(folder, 'facts.csv'), `prompt,subject,target\n${facts.join('\n')}\n`);
  writeFileSync(join(folder, 'held-out.txt'), 'The river ran past a city where few people had lived.\n');
});

test('there are commands in the README', () => {
  assert.ok(lines.length >= 12, `${lines.length} lines`);
});

test('there are examples in --help', () => {
  assert.ok(helped.length >= 10, `${helped.length} examples`);
});

for (const line of [...lines, ...helped]) {
  test(`palimpsest ${line}`, async () => {
    const small = smaller(line);
    // An edit that misses its target ends with 3, so 0 says that it took, or took in part.
    const { code, stdout, stderr } = await run(small);
    assert.is(code, 0, `palimpsest ${small}\n${stdout}${stderr}`);
  });
}

/** The command as a shell would start it, in the folder of this test and with a cache of its own. */
function run(line: string): Promise<Ended> {
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
  // The cluster's scheduler is stood in for by the variable that it would set.
  return cli(words, {
    cwd: folder,
    env: { PALIMPSEST_CACHE: join(folder, 'cache'), SLURM_ARRAY_TASK_ID: '1' },
  });
}

test.run();
