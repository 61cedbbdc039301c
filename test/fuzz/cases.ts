/** The commands that are tried, each with real files that it reads and that are made wrong. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '../../src/io/atomic.ts';
import { TINY_CONFIG, tinyCheckpoint, tinyDocuments } from '../tiny.ts';

const BUNDLED = fileURLToPath(new URL('../../weights/facts/', import.meta.url));

export interface Case {
  readonly name: string;
  /** Weight among the others: cheap commands are tried more often. */
  readonly often: number;
  readonly args: readonly string[];
  /** What it reads, files and folders of the seeds. */
  readonly reads: readonly string[];
  /** Which of them are made wrong. */
  readonly mutable: readonly string[];
  readonly outputs: readonly string[];
  /** Asks a hub, which lies. */
  readonly hub?: boolean;
}

const MODEL = [
  'model/config.json',
  'model/tokenizer.json',
  'model/model.safetensors',
  'model/tokenizer_config.json',
];
const SENTENCE = ['The river of [stone] ran', 'city'];
const ON_MODEL = ['--model', 'model', '--offline'];
const EDITING = [
  ...ON_MODEL,
  '--layer',
  '1',
  '--steps',
  '1',
  '--contexts',
  'contexts.json',
  '--learning-rate',
  '0.1',
];
const IDENTITY = ['--covariance', 'identity'];
const RUN = [
  'run/run.json',
  'run/run.json',
  'run/run.jsonl',
  'run/run.vectors',
  'run/edits/0001.safetensors',
];
const SEQUENCE = [
  '--count',
  '2',
  '--every',
  '2',
  '--text-tokens',
  '8',
  '--held-out',
  'corpus.txt',
  ...EDITING,
  ...IDENTITY,
];
const FACTS = ['facts.json', 'facts.csv', 'facts.txt', 'facts.jsonl'];

function one(
  name: string,
  often: number,
  args: readonly string[],
  mutable: readonly string[],
  more: Partial<Case> = {},
): Case {
  const reads = [...new Set([...mutable, ...(args.includes('model') ? MODEL : [])])];
  return { name, often, args, mutable, outputs: [], ...more, reads: [...reads, ...(more.reads ?? [])] };
}

export const CASES: readonly Case[] = [
  one('history', 10, ['history', '--list', 'edits.json'], ['edits.json', 'a.safetensors']),
  one(
    'apply',
    8,
    ['apply', 'b.safetensors', '--list', 'edits.json', '--no-check'],
    ['b.safetensors', 'edits.json'],
    {
      ...{ reads: ['a.safetensors'], outputs: ['edits.json'] },
    },
  ),
  one('revert', 4, ['revert', '1', '--list', 'edits.json', '--no-check'], ['edits.json', 'a.safetensors'], {
    outputs: ['edits.json'],
  }),
  one('covariance-info', 8, ['covariance', 'info', 'c.safetensors'], ['c.safetensors']),
  one(
    'covariance-merge',
    6,
    ['covariance', 'merge', 'p0.safetensors', 'p1.safetensors', '--out', 'o.safetensors'],
    ['p0.safetensors', 'p1.safetensors'],
  ),
  one(
    'covariance-import',
    10,
    ['covariance', 'import', 'rome.npz', ...ON_MODEL, '--layer', '1', '--out', 'o.safetensors'],
    ['rome.npz', 'rome.npz', ...MODEL],
  ),
  one('covariance-export', 4, ['covariance', 'export', 'c.safetensors', '--out', 'o.npz'], ['c.safetensors']),
  one(
    'export',
    8,
    ['export', 'exported', '--edits', 'a.safetensors', ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one(
    'merge',
    4,
    ['merge', 'a.safetensors', 'b.safetensors', '--out', 'm.safetensors'],
    ['a.safetensors', 'b.safetensors'],
  ),
  one(
    'export-peft',
    3,
    ['export', 'exported', '--format', 'peft', '--edits', 'a.safetensors', ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one(
    'export-gguf',
    3,
    ['export', 'exported.gguf', '--format', 'gguf', '--edits', 'a.safetensors', ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one('fetch', 10, ['models', 'fetch', 'x/y'], [], { hub: true }),
  one('models-list', 1, ['models', 'list'], []),
  one(
    'predict',
    6,
    ['predict', 'the river of stone', ...ON_MODEL, '--edits', 'a.safetensors'],
    [...MODEL, 'a.safetensors'],
  ),
  one('predict-run', 1, ['predict', 'the river', ...ON_MODEL, '--edits', 'run'], RUN, { reads: ['run'] }),
  one('generate', 2, ['generate', 'the river of', ...ON_MODEL, '--tokens', '4'], MODEL),
  one(
    'edit',
    5,
    [
      'edit',
      ...SENTENCE,
      ...EDITING,
      '--covariance',
      'c.safetensors',
      '--check',
      'checks.txt',
      '--allow-miss',
      '--out',
      'o.safetensors',
      '--dump',
      'd.safetensors',
    ],
    ['contexts.json', 'checks.txt', 'c.safetensors', ...MODEL],
  ),
  one('explain', 2, ['explain', 'a.safetensors', ...ON_MODEL, ...IDENTITY], ['a.safetensors']),
  ...FACTS.map((facts) =>
    one(
      `evaluate-${facts}`,
      1,
      [
        'evaluate',
        facts,
        '--count',
        '1',
        '--text-tokens',
        '8',
        '--references',
        'references.json',
        ...EDITING,
        ...IDENTITY,
      ],
      [facts, facts, 'references.json'],
      {
        reads: ['contexts.json'],
      },
    ),
  ),
  one(
    'sequence',
    10,
    ['sequence', 'facts.json', '--resume', '--out', 'run', ...SEQUENCE],
    [...RUN, 'facts.json', 'corpus.txt'],
    {
      ...{ reads: ['run', 'contexts.json'], outputs: ['run'] },
    },
  ),
  one(
    'covariance-build',
    3,
    [
      'covariance',
      'build',
      ...ON_MODEL,
      '--layer',
      '1',
      '--corpus',
      'corpus.txt',
      '--corpus',
      'corpus.jsonl',
      '--tokens',
      '300',
      '--out',
      'o.safetensors',
    ],
    ['corpus.txt', 'corpus.jsonl', ...MODEL],
  ),
  one(
    'trace',
    1,
    ['trace', ...SENTENCE, ...ON_MODEL, '--samples', '1', '--out', 'traced', '--data', 'facts.json'],
    ['facts.json'],
  ),
];

/** Commands that make the seeds, one after another; each must end with 0. */
export const SEEDS: readonly (readonly string[])[] = [
  ['edit', ...SENTENCE, ...EDITING, ...IDENTITY, '--allow-miss', '--out', 'a.safetensors'],
  [
    'edit',
    'The [river] of',
    'few',
    ...EDITING,
    ...IDENTITY,
    '--allow-miss',
    '--out',
    'b.safetensors',
    '--edits',
    'a.safetensors',
  ],
  ['apply', 'a.safetensors', '--list', 'edits.json', '--no-check'],
  ['covariance', 'build', ...ON_MODEL, '--layer', '1', '--corpus', 'corpus.txt', '--out', 'c.safetensors'],
  [
    'covariance',
    'build',
    ...ON_MODEL,
    '--layer',
    '1',
    '--corpus',
    'corpus.txt',
    '--shard',
    '0/2',
    '--out',
    'p0.safetensors',
  ],
  [
    'covariance',
    'build',
    ...ON_MODEL,
    '--layer',
    '1',
    '--corpus',
    'corpus.txt',
    '--shard',
    '1/2',
    '--out',
    'p1.safetensors',
  ],
  ['covariance', 'export', 'c.safetensors', '--out', 'rome.npz'],
  ['sequence', 'facts.json', '--out', 'run', ...SEQUENCE],
];

/** A record of CounterFact's layout. */
function record(case_id: number, subject: string): object {
  return {
    case_id,
    requested_rewrite: {
      prompt: 'the {} of stone ran past',
      ...{
        subject,
        relation_id: 'P1',
        target_new: { str: 'few', id: 'Q1' },
        target_true: { str: 'city', id: 'Q2' },
      },
    },
    paraphrase_prompts: [`past the ${subject} ran`],
    neighborhood_prompts: ['the city of'],
    generation_prompts: ['people had'],
  };
}

/** The files that no command makes. */
export async function writeSeeds(folder: string): Promise<void> {
  const write = (name: string, text: string): void => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  const records = ['river', 'city', 'people'].map((subject, i) => record(i, subject));
  write('model/config.json', JSON.stringify({ model_type: 'gpt2', ...TINY_CONFIG }));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(BUNDLED + name, join(folder, 'model', name));
  const { tensors } = tinyCheckpoint();
  await writeSafetensors(
    join(folder, 'model/model.safetensors'),
    tensors.names().map((name) => ({
      ...{ name, dtype: 'F32', shape: tensors.info(name).shape },
      data: () => tensors.chunks(name, 2 ** 20),
    })),
  );
  write('facts.json', JSON.stringify(records));
  write('facts.jsonl', records.map((one) => JSON.stringify(one)).join('\n'));
  write(
    'facts.csv',
    'prompt,subject,target,true,paraphrase\n"the {} of stone",river,few,city,"a river, ran"\nthe {},city,few,,\n',
  );
  write('facts.txt', '# facts\n"the [river] of" => "few"\n"the [city] \\"of\\"" => "people"\n');
  write('checks.txt', 'the river of\n{"prompt": "the city of", "expect": "stone"}\n');
  write('contexts.json', JSON.stringify(['{}', 'Past the city. {}']));
  write('references.json', JSON.stringify({ P1: { Q1: [{ text: 'few people' }] } }));
  write('corpus.txt', tinyDocuments(40).join('\n'));
  write(
    'corpus.jsonl',
    tinyDocuments(10, 2)
      .map((text) => JSON.stringify({ text }))
      .join('\n'),
  );
}

/** Files of a model that the hub offers. */
export function hubFiles(folder: string): Record<string, Buffer> {
  return Object.fromEntries(
    ['config.json', 'tokenizer.json', 'model.safetensors'].map((name) => [
      name,
      readFileSync(join(folder, 'model', name)),
    ]),
  );
}
