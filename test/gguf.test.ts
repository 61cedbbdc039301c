/** GGUF files: what a folder's checkpoint becomes in one is the same model; what is wrong with one is said by name. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError } from '../src/errors.ts';
import { openCheckpoint, openGguf } from '../src/io/model-folder.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import type { Checkpoint } from '../src/models/checkpoint.ts';
import { Model } from '../src/models/model.ts';
import { ropeFrequencies } from '../src/models/rope.ts';
import { Tokenizer } from '../src/models/tokenizer.ts';
import { folderOf } from './folder.ts';
import { gpu, read } from './gpu.ts';
import { TYPE, ggufBytes, partsOf, tokenizerOf } from './gguf-file.ts';
import type { Parts } from './gguf-file.ts';
import { relativeError } from './reference/allclose.ts';

const test = suite('gguf');
const folder = folderOf(test);
let files = 0;

function write(parts: Parts, bytes = ggufBytes(parts)): string {
  const path = join(folder, `${(files += 1)}.gguf`);
  writeFileSync(path, bytes);
  return path;
}

const golden = (name: string): string =>
  fileURLToPath(new URL(`golden/architectures/${name}`, import.meta.url));
const json = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

/** A golden folder, and the parts of its GGUF. */
async function both(name: string, pre: string): Promise<{ checkpoint: Checkpoint; parts: Parts }> {
  const checkpoint = await openCheckpoint(golden(name));
  const config = json(join(golden(name), 'config.json'));
  const parts = await partsOf(checkpoint, config);
  const { before } = new Tokenizer(checkpoint.tokenizerJson, checkpoint.tokenizerConfig);
  const bos =
    before.length > 0
      ? (json(join(golden(name), 'tokenizer_config.json'))['bos_token'] as string)
      : undefined;
  const rows = checkpoint.architecture.dims.V;
  Object.assign(parts.metadata, tokenizerOf(checkpoint.tokenizerJson, { pre, rows, bos }));
  return { checkpoint, parts };
}

async function logits(checkpoint: Checkpoint, ids: readonly number[]): Promise<Float32Array> {
  const model = await Model.load(gpu, checkpoint);
  try {
    return await gpu.scope(async (s) =>
      read(gpu, model.logits(s, model.forward(s, uploadBatch(s, packRows([ids]))))),
    );
  } finally {
    model.destroy();
  }
}

const lines = readFileSync(fileURLToPath(new URL('../data/wikitext.txt', import.meta.url)), 'utf8')
  .split('\n')
  .slice(0, 100);
const TEXTS = [
  ...lines,
  '',
  ' ',
  "I'll pay 12345.67 €\n\n  in   2026",
  'naïve e\u0301 日本語 🙂',
  'a<|endoftext|>b',
];

for (const [name, pre] of [
  ['smollm2', 'smollm'],
  ['llama3', 'llama-bpe'],
  ['qwen2', 'qwen2'],
  ['qwen3', 'qwen2'],
] as const)
  test(`${name}: the same ids and logits as from the folder`, async () => {
    const { checkpoint, parts } = await both(name, pre);
    if (name === 'llama3') {
      // What the converter does with Llama 3's scaling: how often each frequency was divided.
      const settings = { dimensions: 8, theta: 500_000 };
      const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = json(
        join(golden(name), 'config.json'),
      )['rope_scaling'] as Record<string, number>;
      const scaled = ropeFrequencies({
        ...settings,
        scaling: {
          ...{ type: 'llama3', factor: factor!, lowFrequencyFactor: low_freq_factor! },
          ...{ highFrequencyFactor: high_freq_factor!, originalContext: original_max_position_embeddings! },
        },
      });
      const divisors = ropeFrequencies({ ...settings, scaling: undefined }).map((f, j) => f / scaled[j]!);
      const data = new Uint8Array(Float32Array.from(divisors).buffer);
      parts.tensors.set('rope_freqs.weight', { type: TYPE.F32, shape: [4], data });
    }
    const opened = await openGguf('x', write(parts));
    const [mine, theirs] = [checkpoint, opened].map((c) => new Tokenizer(c.tokenizerJson, c.tokenizerConfig));
    for (const text of TEXTS) assert.equal(theirs!.encode(text), mine!.encode(text), text);
    assert.equal(theirs!.decode(mine!.encode(lines[0]!)), mine!.decode(mine!.encode(lines[0]!)));
    const ids = mine!.encode(lines.join(' ')).slice(0, 60);
    const error = relativeError(await logits(opened, ids), await logits(checkpoint, ids));
    // The same weights; Llama 3's frequencies are divided by factors that the file has in float32.
    assert.ok(error < (name === 'llama3' ? 1e-5 : 1e-7), `${error}`);
    assert.match(await opened.sha256(), /^[0-9a-f]{64}$/);
  });

/** SentencePiece's BPE as it is defined: of all neighbours that make a token, the best joins, the leftmost of equals. */
function sentencePiece(text: string, tokens: readonly string[], scores: readonly number[]): number[] {
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  let parts = [...`▁${text.replaceAll(' ', '▁')}`];
  for (;;) {
    let best = -1;
    for (let i = 0; i + 1 < parts.length; i += 1) {
      const id = idOf.get(parts[i]! + parts[i + 1]!);
      if (id === undefined) continue;
      if (best < 0 || scores[id]! > scores[idOf.get(parts[best]! + parts[best + 1]!)!]!) best = i;
    }
    if (best < 0) break;
    parts = [...parts.slice(0, best), parts[best]! + parts[best + 1]!, ...parts.slice(best + 2)];
  }
  return parts.flatMap(
    (part) =>
      idOf.get(part) ??
      [...Buffer.from(part)].map((b) => idOf.get(`<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)!),
  );
}

test('llama2: SentencePiece by scores, bytes to fall back on, BOS in front', async () => {
  const checkpoint = await openCheckpoint(golden('llama2'));
  const parts = await partsOf(checkpoint, json(join(golden('llama2'), 'config.json')));
  const metadata = tokenizerOf(checkpoint.tokenizerJson, { pre: undefined, rows: 1520, bos: '<s>' });
  const tokens = metadata['tokenizer.ggml.tokens'] as string[];
  const types = (metadata['tokenizer.ggml.token_type'] as number[]).map((type, id) =>
    /^<0x..>$/.test(tokens[id]!) ? 6 : tokens[id] === '<unk>' ? 2 : type,
  );
  const scores = tokens.map((_, id) => -id - 0.5);
  delete metadata['tokenizer.ggml.merges'];
  Object.assign(parts.metadata, metadata, {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.scores': scores,
  });
  const opened = await openGguf('x', write(parts));
  const tokenizer = new Tokenizer(opened.tokenizerJson, opened.tokenizerConfig);
  for (const text of [...lines.slice(0, 20), 'naïve 日本語 🙂', 'a  b'])
    if (text !== '') assert.equal(tokenizer.encode(text), [1, ...sentencePiece(text, tokens, scores)], text);
  assert.is(tokenizer.decode(tokenizer.encode('two words')), 'two words');
  const ids = tokenizer.encode(lines.join(' ')).slice(0, 40);
  assert.ok(relativeError(await logits(opened, ids), await logits(checkpoint, ids)) < 1e-7);
});

/** Each fault, and what the message must name. */
const FAULTS: readonly [string, (parts: Parts) => void | Uint8Array<ArrayBuffer>, RegExp][] = [
  [
    'another architecture',
    (p) => void (p.metadata['general.architecture'] = 'mamba'),
    /general\.architecture.*"mamba"/,
  ],
  ['no magic', () => new Uint8Array(4096), /not starting with GGUF magic/],
  ['a header cut off', (p) => ggufBytes(p).slice(0, 20_000), /header.*truncated/],
  [
    'data cut off',
    (p) => ggufBytes(p).slice(0, -5000),
    /tensor "[\w.]+": it ends at byte \d+, but the file has \d+: it is truncated/,
  ],
  [
    'a type that is not read',
    (p) => void (p.tensors.get('blk.1.ffn_up.weight')!.type = TYPE.Q2_K),
    /tensor "blk\.1\.ffn_up\.weight".*it is Q2_K/,
  ],
  [
    'parts of blocks',
    (p) => void Object.assign(p.tensors.get('output_norm.weight')!, { type: TYPE.Q4_0, shape: [56] }),
    /rows of whole blocks of 32, it is Q4_0 \[56\]/,
  ],
  [
    'a missing tensor',
    (p) => void p.tensors.delete('blk.2.attn_k.weight'),
    /model\.layers\.2\.self_attn\.k_proj\.weight \[.*is missing/,
  ],
  [
    'one too many',
    (p) => void p.tensors.set('blk.0.what.weight', p.tensors.get('output_norm.weight')!),
    /blk\.0\.what\.weight is no tensor of this/,
  ],
  [
    'a missing field',
    (p) => void delete p.metadata['llama.block_count'],
    /llama\.block_count: expected a number, found nothing/,
  ],
  [
    'heads that do not divide',
    (p) => void (p.metadata['llama.attention.head_count_kv'] = 5),
    /num_key_value_heads/,
  ],
  ['experts', (p) => void (p.metadata['llama.expert_count'] = 8), /8 experts/],
  ['a kind of positions', (p) => void (p.metadata['llama.rope.scaling.type'] = 'yarn'), /yarn/],
  ['a pre', (p) => void (p.metadata['tokenizer.ggml.pre'] = 'tekken'), /tokenizer\.ggml\.pre.*"tekken"/],
  [
    'a tokenizer',
    (p) => void (p.metadata['tokenizer.ggml.model'] = 'bert'),
    /tokenizer\.ggml\.model.*"bert"/,
  ],
];

test('faults are named', async () => {
  for (const [name, spoil, message] of FAULTS) {
    const { parts } = await both('smollm2', 'smollm');
    const bytes = spoil(parts) ?? ggufBytes(parts);
    const path = write(parts, bytes);
    const error = await openGguf('x', path).then(
      () => new Error('it was opened'),
      (e: unknown) => e as Error,
    );
    assert.instance(error, ModelError, `${name}: ${error.stack}`);
    assert.match(error.message, message, name);
  }
});

test('a damaged block is refused where it is loaded, with its tensor', async () => {
  const { parts } = await both('smollm2', 'smollm');
  const tensor = parts.tensors.get('blk.1.ffn_down.weight')!;
  const blocks = tensor.shape.reduce((n, d) => n * d, 1) / 32;
  assert.ok(Number.isInteger(blocks) && tensor.shape[1]! % 32 === 0);
  const data = new Uint8Array(blocks * 34).fill(1);
  data.set([0x00, 0x7c], 34 * (blocks - 1)); // an infinite scale
  Object.assign(tensor, { type: TYPE.Q8_0, data });
  const opened = await openGguf('x', write(parts));
  const error = await Model.load(gpu, opened).catch((e: unknown) => e as Error);
  assert.instance(error, ModelError);
  assert.match((error as Error).message, /"model\.layers\.1\.mlp\.down_proj\.weight" Q8_0.*damaged/);
});

test.run();
