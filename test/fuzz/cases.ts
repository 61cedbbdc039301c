/** The commands that are tried, each with real files that it reads and that are made wrong. */

export interface Case {
  readonly name: string;
  /** Weight among the others: cheap commands are tried more often. */
  readonly often: number;
  readonly args: readonly string[];
  /** What it reads, files and folders of the seeds. */
  readonly reads: readonly string[];
  /** Which of them are made wrong; of a folder, a file in it. */
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
const SHARDED = ['config.json', 'tokenizer.json', 'model.safetensors.index.json'].map(
  (name) => `sharded/${name}`,
);
const RUN = [
  'run/run.json',
  'run/run.json',
  'run/run.jsonl',
  'run/run.vectors',
  'run/edits/0001.safetensors',
];
const FACTS = [
  'facts.json',
  'facts.csv',
  'facts.txt',
  'facts.jsonl',
  'zsre.json',
  'easyedit.json',
  'fastedit.json',
];

const words = (line: string): string[] => line.split(' ');
const ON_MODEL = words('--model model --offline');
const CONTEXTS = words('--contexts contexts.json');
const VALUE = words('--steps 1 --learning-rate 0.1');
/** The first step finds the gradient, the second has moved: of many facts nothing is written that did not. */
const MOVED = words('--steps 2 --learning-rate 0.1');
const IDENTITY = words('--covariance identity');
/** With the last word of the sentence its continuation. */
export const SENTENCE = ['The river of [stone] ran', 'city'];
const EDITING = [...ON_MODEL, ...words('--layer 1'), ...VALUE, ...CONTEXTS];
export const QUICK = [...EDITING, ...IDENTITY];
export const SEQUENCE = [...words('--count 2 --every 2 --text-tokens 8 --held-out corpus.txt'), ...QUICK];
export const EVALUATE = [...words('--text-tokens 8'), ...QUICK];
export const MANY = [
  ...words('--method memit --layers 0 --batch 1 --covariance c0.safetensors'),
  ...[...ON_MODEL, ...MOVED, ...CONTEXTS],
];
export const BUILD = [...words('covariance build --corpus corpus.txt'), ...ON_MODEL];

function one(
  name: string,
  often: number,
  args: string | readonly string[],
  mutable: readonly string[],
  more: Partial<Case> = {},
): Case {
  const given = typeof args === 'string' ? words(args) : args;
  const reads = [...new Set([...mutable, ...(given.includes('model') ? MODEL : [])])];
  return {
    name,
    often,
    args: given,
    mutable,
    outputs: [],
    ...more,
    reads: [...reads, ...(more.reads ?? [])],
  };
}

/** In a fifth of a second, without an adapter. */
const CHEAP: readonly Case[] = [
  one('history', 10, 'history --list edits.json', ['edits.json', 'a.safetensors']),
  one('apply', 8, 'apply b.safetensors --list edits.json --no-check', ['b.safetensors', 'edits.json'], {
    ...{ reads: ['a.safetensors'], outputs: ['edits.json'] },
  }),
  one('revert', 4, 'revert 1 --list edits.json --no-check', ['edits.json', 'a.safetensors'], {
    outputs: ['edits.json'],
  }),
  one('covariance-info', 8, 'covariance info c.safetensors', ['c.safetensors']),
  one('covariance-merge', 6, 'covariance merge p0.safetensors p1.safetensors --out o.safetensors', [
    ...['p0.safetensors', 'p1.safetensors'],
  ]),
  one(
    'covariance-import',
    10,
    ['covariance', 'import', 'rome.npz', ...ON_MODEL, ...words('--layer 1 --out o.safetensors')],
    ['rome.npz', 'rome.npz', ...MODEL],
  ),
  one('covariance-export', 4, 'covariance export c.safetensors --out o.npz', ['c.safetensors']),
  one('merge', 4, 'merge a.safetensors b.safetensors --out m.safetensors', [
    'a.safetensors',
    'b.safetensors',
  ]),
  one('merge-run', 2, 'merge run --out m.safetensors', ['run/edits'], { reads: ['run'] }),
  one('merge-facts', 2, 'merge many.safetensors --out m.safetensors', ['many.safetensors']),
  one(
    'export-peft',
    3,
    [...words('export exported --format peft --edits a.safetensors'), ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one(
    'export-gguf',
    3,
    [...words('export exported --format gguf --edits a.safetensors'), ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one(
    'export-sharded',
    6,
    words('export exported --format peft --edits sharded.safetensors --model sharded --offline'),
    [...SHARDED, 'sharded/model.safetensors.index.json', 'sharded/model.safetensors.index.json', 'sharded'],
    { reads: ['sharded.safetensors'] },
  ),
  one(
    'import-peft',
    6,
    ['import', 'peft', '--out', 'imported', ...ON_MODEL],
    ['peft/adapter_model.safetensors'],
    {
      reads: ['peft'],
    },
  ),
  one(
    'import-gguf',
    4,
    ['import', 'gguf/adapter.gguf', '--out', 'imported', ...ON_MODEL],
    ['gguf/adapter.gguf'],
  ),
  one('fetch', 16, 'models fetch x/y', [], { hub: true }),
  one('models-list', 1, 'models list', []),
  one('evaluate-merge', 6, 'evaluate merge shard0 shard1', [
    'shard0',
    'shard1',
    'shard0/run.json',
    'shard1/run.json',
  ]),
];

/** With an adapter: half a second to two. */
const COMPUTING: readonly Case[] = [
  one(
    'export',
    4,
    [...words('export exported --edits a.safetensors'), ...ON_MODEL],
    [...MODEL, 'a.safetensors'],
  ),
  one(
    'predict',
    6,
    ['predict', 'the river of stone', ...ON_MODEL, '--edits', 'a.safetensors'],
    [...MODEL, 'a.safetensors'],
  ),
  // Of a run it reads the edits alone.
  one('predict-run', 1, ['predict', 'the river', ...ON_MODEL, '--edits', 'run'], ['run/edits'], {
    reads: ['run'],
  }),
  one(
    'predict-facts',
    1,
    ['predict', 'the river', ...ON_MODEL, '--edits', 'many.safetensors'],
    ['many.safetensors'],
  ),
  one('predict-gguf', 4, words('predict river --model tiny.gguf --top 3'), ['tiny.gguf']),
  one('generate', 2, ['generate', 'the river of', ...ON_MODEL, '--tokens', '4'], MODEL),
  one('generate-chat', 5, words('generate Where? --chat --tokens 2 --model model --offline'), [
    'model/chat_template.jinja',
    'model/chat_template.jinja',
    'model/tokenizer_config.json',
  ]),
  one(
    'edit',
    5,
    [
      ...['edit', ...SENTENCE, ...EDITING, ...words('--covariance c.safetensors --check checks.txt')],
      ...words('--allow-miss --out o.safetensors --dump d.safetensors'),
    ],
    ['contexts.json', 'checks.txt', 'c.safetensors', ...MODEL],
  ),
  one(
    'edit-cached',
    3,
    ['edit', ...SENTENCE, ...ON_MODEL, ...words('--layer 1'), ...VALUE, ...IDENTITY, '--allow-miss'],
    ['cache'],
  ),
  ...FACTS.map((facts) =>
    one(
      `edit-${facts}`,
      2,
      ['edit', '--facts', facts, ...MANY, ...words('--allow-miss --out f.safetensors')],
      [facts, facts, 'contexts.json'],
      { reads: ['contexts.json', 'c0.safetensors'], outputs: ['f.safetensors.run'] },
    ),
  ),
  one(
    'edit-facts-resume',
    5,
    ['edit', '--facts', 'twelve.json', ...MANY, ...words('--allow-miss --resume --out f.safetensors')],
    ['f.safetensors.run', 'f.safetensors.run/run.json', 'twelve.json'],
    { reads: ['contexts.json', 'c0.safetensors'], outputs: ['f.safetensors.run'] },
  ),
  one('explain', 2, ['explain', 'a.safetensors', ...ON_MODEL, ...IDENTITY], ['a.safetensors']),
  ...FACTS.map((facts) =>
    one(
      `evaluate-${facts}`,
      1,
      ['evaluate', facts, ...words('--count 1 --references references.json'), ...EVALUATE],
      [facts, facts, 'references.json'],
      { reads: ['contexts.json'] },
    ),
  ),
  one(
    'evaluate-resume',
    5,
    ['evaluate', 'facts.json', ...words('--count 2 --resume --out cases'), ...EVALUATE],
    ['cases', 'cases/run.json', 'facts.json'],
    { reads: ['contexts.json'], outputs: ['cases'] },
  ),
  one(
    'sequence',
    8,
    ['sequence', 'facts.json', ...words('--resume --out run'), ...SEQUENCE],
    [...RUN, 'facts.json', 'corpus.txt'],
    { reads: ['run', 'contexts.json'], outputs: ['run'] },
  ),
  one(
    'covariance-build',
    3,
    [...BUILD, ...words('--layer 1 --corpus corpus.jsonl --tokens 300 --out o.safetensors')],
    ['corpus.txt', 'corpus.jsonl', ...MODEL],
  ),
  one(
    'trace',
    1,
    ['trace', ...SENTENCE, ...ON_MODEL, ...words('--samples 1 --out traced --data facts.json')],
    ['facts.json'],
  ),
];

export const CASES: readonly Case[] = [...CHEAP, ...COMPUTING];
