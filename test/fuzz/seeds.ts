/** The good files: those that no command makes, and those that commands make of them. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '../../src/io/atomic.ts';
import { readArchitecture } from '../../src/models/checkpoint.ts';
import type { Checkpoint } from '../../src/models/checkpoint.ts';
import { randomCheckpoint } from '../../src/models/random-checkpoint.ts';
import { ggufBytes, partsOf, tokenizerOf } from '../gguf-file.ts';
import { TINY_CONFIG, tinyCheckpoint, tinyDocuments } from '../tiny.ts';
import { BUILD, EVALUATE, MANY, QUICK, SENTENCE, SEQUENCE } from './cases.ts';
import { judge } from './judge.ts';
import type { Job } from './judge.ts';

const BUNDLED = fileURLToPath(new URL('../../weights/facts/', import.meta.url));
const CHAT =
  "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] | trim }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/** Commands that make files, one after another; each must end with 0, or be interrupted once a file has so many lines. */
const MADE: readonly {
  readonly args: readonly string[];
  readonly until?: { file: string; lines: number };
}[] = [
  { args: ['edit', ...SENTENCE, ...QUICK, '--allow-miss', '--out', 'a.safetensors'] },
  {
    args: [
      ...['edit', 'The [river] of', 'few', ...QUICK, '--allow-miss', '--out', 'b.safetensors'],
      ...['--edits', 'a.safetensors'],
    ],
  },
  {
    args: [
      ...['edit', ...SENTENCE, ...QUICK.map((word) => (word === 'model' ? 'sharded' : word))],
      ...['--allow-miss', '--out', 'sharded.safetensors'],
    ],
  },
  // Its contexts are sampled, and lie in the cache then.
  {
    args: [
      ...['edit', ...SENTENCE, '--model', 'model', '--offline', '--layer', '1', '--steps', '1'],
      ...['--covariance', 'identity', '--allow-miss'],
    ],
  },
  { args: ['apply', 'a.safetensors', '--list', 'edits.json', '--no-check'] },
  { args: [...BUILD, '--layer', '0', '--out', 'c0.safetensors'] },
  { args: [...BUILD, '--layer', '1', '--out', 'c.safetensors'] },
  { args: [...BUILD, '--layer', '1', '--shard', '0/2', '--out', 'p0.safetensors'] },
  { args: [...BUILD, '--layer', '1', '--shard', '1/2', '--out', 'p1.safetensors'] },
  { args: ['covariance', 'export', 'c.safetensors', '--out', 'rome.npz'] },
  { args: ['sequence', 'facts.json', '--out', 'run', ...SEQUENCE] },
  { args: ['evaluate', 'facts.json', '--count', '2', '--out', 'cases', ...EVALUATE] },
  { args: ['evaluate', 'facts.json', '--shard', '0/2', '--out', 'shard0', ...EVALUATE] },
  { args: ['evaluate', 'facts.json', '--shard', '1/2', '--out', 'shard1', ...EVALUATE] },
  { args: ['edit', '--facts', 'facts.json', ...MANY, '--allow-miss', '--out', 'many.safetensors'] },
  {
    args: ['edit', '--facts', 'twelve.json', ...MANY, '--allow-miss', '--out', 'f.safetensors'],
    until: { file: 'f.safetensors.run/run.jsonl', lines: 2 },
  },
  {
    args: ['export', 'peft', '--format', 'peft', '--edits', 'a.safetensors', '--model', 'model', '--offline'],
  },
  {
    args: ['export', 'gguf', '--format', 'gguf', '--edits', 'a.safetensors', '--model', 'model', '--offline'],
  },
];

/** A record of CounterFact's layout. */
function record(case_id: number, subject: string): object {
  const [target_new, target_true] = [
    { str: 'few', id: 'Q1' },
    { str: 'city', id: 'Q2' },
  ];
  return {
    case_id,
    requested_rewrite: {
      prompt: 'the {} of stone ran past',
      subject,
      relation_id: 'P1',
      target_new,
      target_true,
    },
    paraphrase_prompts: [`past the ${subject} ran`],
    neighborhood_prompts: ['the city of'],
    generation_prompts: ['people had'],
  };
}

async function writeOwn(folder: string): Promise<void> {
  const write = (name: string, text: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  const records = ['river', 'city', 'people'].map((subject, i) => record(i, subject));
  const nouns = 'river city people stone book water house tree field road wall bird'.split(' ');
  for (const model of ['model', 'sharded']) {
    write(`${model}/config.json`, JSON.stringify({ model_type: 'gpt2', ...TINY_CONFIG }));
    cpSync(`${BUNDLED}tokenizer.json`, join(folder, model, 'tokenizer.json'));
  }
  write(
    'model/tokenizer_config.json',
    JSON.stringify({
      ...(JSON.parse(readFileSync(`${BUNDLED}tokenizer_config.json`, 'utf8')) as object),
      chat_template: [{ name: 'default', template: CHAT }],
    }),
  );
  write('model/chat_template.jinja', CHAT);
  const { tensors } = tinyCheckpoint();
  const names = tensors.names();
  await writeWeights(join(folder, 'model/model.safetensors'), tensors, names);
  const halves = [names.slice(0, names.length >> 1), names.slice(names.length >> 1)];
  const shards = halves.map((half, i) => [`model-0000${i + 1}-of-00002.safetensors`, half] as const);
  for (const [file, half] of shards) await writeWeights(join(folder, 'sharded', file), tensors, half);
  const weight_map = Object.fromEntries(shards.flatMap(([file, half]) => half.map((name) => [name, file])));
  write('sharded/model.safetensors.index.json', JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
  write('tiny.gguf', await tinyGguf());
  write('facts.json', JSON.stringify(records));
  write('twelve.json', JSON.stringify(nouns.map((subject, i) => record(i, subject))));
  write('facts.jsonl', records.map((one) => JSON.stringify(one)).join('\n'));
  write(
    'facts.csv',
    'prompt,subject,target,true,paraphrase\n"the {} of stone",river,few,city,"a river, ran"\nthe {},city,few,,\n',
  );
  write('facts.txt', '# facts\n"the [river] of" => "few"\n"the [city] \\"of\\"" => "people"\n');
  const asked = { subject: 'river', prompt: 'the river of', target_new: 'few', ground_truth: 'city' };
  const nearby = {
    rephrase_prompt: 'past the river',
    locality_prompt: 'the city',
    locality_ground_truth: 'of',
  };
  write(
    'easyedit.json',
    JSON.stringify([
      { ...asked, ...nearby },
      { ...asked, subject: 'the' },
    ]),
  );
  write(
    'fastedit.json',
    JSON.stringify([{ prompt: 'the {} of', subject: 'river', target: 'few', queries: ['a'] }]),
  );
  const question = { src: 'what is river', subject: 'river', answers: ['few'], rephrase: 'river is what' };
  write(
    'zsre.json',
    JSON.stringify([{ ...question, alt: 'city', loc: 'nq question: who ran', loc_ans: 'people' }]),
  );
  write('checks.txt', 'the river of\n{"prompt": "the city of", "expect": "stone"}\n');
  write('contexts.json', JSON.stringify(['{}', 'Past the city. {}']));
  write('references.json', JSON.stringify({ P1: { Q1: [{ text: 'few people' }] } }));
  write('corpus.txt', tinyDocuments(40).join('\n'));
  const documents = tinyDocuments(10, 2).map((text) => JSON.stringify({ text }));
  write('corpus.jsonl', documents.join('\n'));
}

function writeWeights(
  path: string,
  tensors: Checkpoint['tensors'],
  names: readonly string[],
): Promise<unknown> {
  const shape = (name: string): readonly number[] => tensors.info(name).shape;
  const data = (name: string) => () => tensors.chunks(name, 2 ** 20);
  return writeSafetensors(
    path,
    names.map((name) => ({ name, dtype: 'F32', shape: shape(name), data: data(name) })),
  );
}

/** A Llama of two layers as llama.cpp's converter lays it out, with the bundled tokenizer. */
async function tinyGguf(): Promise<Uint8Array> {
  const tokenizer: unknown = JSON.parse(readFileSync(`${BUNDLED}tokenizer.json`, 'utf8'));
  const config = {
    ...{
      model_type: 'llama',
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 2,
      vocab_size: 8192,
    },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, max_position_embeddings: 64 },
    ...{ rms_norm_eps: 1e-5, hidden_act: 'silu', rope_theta: 10_000, tie_word_embeddings: true },
  };
  const architecture = await readArchitecture('tiny', config);
  const checkpoint = randomCheckpoint('tiny', { architecture, tokenizerJson: tokenizer, seed: 1 });
  const { metadata, tensors } = await partsOf(checkpoint, config);
  const words = tokenizerOf(tokenizer, { pre: 'gpt-2', rows: 8192 });
  return ggufBytes({ metadata: { ...metadata, ...words, 'tokenizer.chat_template': CHAT }, tensors });
}

/** Files of a model that a hub offers: `model`, or `sharded`. */
export function hubFiles(folder: string, model: string): Record<string, Buffer> {
  const names = readdirSync(join(folder, model)).filter((name) => !name.includes('_'));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, model, name))]));
}

/**
 * Makes them, or takes those that are kept in `.cache` for as long as the program and this harness are the same.
 *
 * @param root of the project
 * @param made a folder that is not there yet
 */
export async function makeSeeds(
  root: string,
  made: string,
  jobOf: (folder: string) => Omit<Job, 'args'>,
): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of ['dist', 'test/fuzz'])
    for (const path of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).sort())
      if (/\.[jt]s$/.test(path)) hash.update(readFileSync(join(root, folder, path)));
  const kept = join(root, '.cache', 'fuzz', hash.digest('hex').slice(0, 16));
  if (existsSync(kept)) return kept;
  rmSync(dirname(kept), { recursive: true, force: true });
  mkdirSync(made);
  await writeOwn(made);
  for (const { args, until } of MADE) {
    const { ended } = await judge({ ...jobOf(made), args, wallMs: 600_000, ...(until && { until }) });
    if (ended.code !== (until ? 130 : 0))
      throw new Error(`seed ${args.join(' ')}: ${ended.code} ${ended.stderr}`);
  }
  cpSync(made, kept, { recursive: true });
  return kept;
}
