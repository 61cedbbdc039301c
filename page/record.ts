/**
 * Writes what the page carries along: the demo edit as it was computed once, for visitors without WebGPU, and the first
 * 16 edits of ROME's sequence. Run it when the model, the method or the page's data change:
 *
 *   npx tsx page/record.ts
 */
import { readFile, writeFile } from 'node:fs/promises';
import { readFacts } from '../src/data/read.ts';
import type { Edit } from '../src/edit/edit.ts';
import { bytesOf } from '../src/floats.ts';
import { safetensorsBytes } from '../src/formats/safetensors.ts';
import { loadCovariance, loadModel, openGpu } from '../src/index.node.ts';
import { versions } from '../src/io/file.ts';
import { memoryJournal } from '../src/lab/run-journal.ts';
import { runSequence } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine } from '../src/lab/sequence.ts';
import { readReplay, replay, turns } from './engine/breaking.ts';
import { Engine } from './engine/engine.ts';
import { traceStates } from './engine/pictures.ts';
import type { EditEvent, Opened, ReplayEvent } from './engine/protocol.ts';
import { bytesSource } from './engine/sources.ts';
import { EXAMPLES } from './examples.ts';
import { ANGLES, REPLAY_PROMPT } from './plan.ts';
import type { Recorded } from './recorded.ts';

const EDITS = 16;
/** Documents whose perplexity is followed: as many as `palimpsest sequence` takes. */
const DOCUMENTS = 12;

const here = new URL('recorded/', import.meta.url);
const data = (name: string): Promise<string> => readFile(new URL(`../data/${name}`, import.meta.url), 'utf8');

const gpu = await openGpu();
const start = performance.now();
const loaded = await loadModel(gpu, 'facts');
const { model, entry } = loaded;
if (!entry) throw new RangeError('facts is not in the manifest');
const layer = entry.edit_layer;
const covariance = await loadCovariance(loaded, { layer });
const engine = new Engine({ model, covariance, layer, clamp: entry.clamp, versions: versions() });
const { D, F, H, V, layers, context } = model.dims;
const opened: Opened = {
  adapter: gpu.adapter,
  limits: {},
  model: { id: model.id, sha256: model.sha256 },
  dims: { D, F, H, V, layers, context },
  layer,
  covarianceTokens: covariance.tokens,
  stored: true,
  ms: performance.now() - start,
};

// 1. The demo edit.
const [{ prompt, subject, target, paraphrases, neighbours }] = EXAMPLES;
const events: EditEvent[] = [];
await engine.contexts();
const wish = { prompt, subject, target, method: 'r-rome' as const, watched: [...paraphrases, ...neighbours] };
const { file: _, ...report } = await engine.edit(wish, (event) => void events.push(event));
const trace = await traceStates(model, { prompt, subject }, () => undefined);
const angles = await turns(engine, ANGLES);

// 2. ROME's sequence, on the base model.
const facts = readFacts(await data('counterfact-100.json'), 'counterfact-100.json').slice(0, EDITS + 1);
const kept: Edit['updates'][] = [];
const journal = memoryJournal<SequenceHead, SequenceLine>();
await runSequence(
  model,
  facts.slice(0, EDITS),
  {
    method: 'rome',
    edit: { layer, clamp: entry.clamp, contexts: await engine.contexts(), solver: await engine.solver() },
    onCollapse: 'warn',
    onKept: ({ edit }) => Promise.resolve(void kept.push(edit.updates)),
    every: 0,
    documents: [],
    textTokens: 0,
    seed: 0,
  },
  journal,
);
const updates = kept.map((found) => found.get('rome'));
const documents = (await data('wikitext.txt'))
  .split('\n')
  .filter((line) => line.trim() !== '')
  .slice(0, DOCUMENTS);
const together = (of: 'U' | 'Lambda', width: number): Float32Array => {
  const all = new Float32Array(EDITS * width);
  updates.forEach((update, i) => all.set(update?.[of] ?? [], i * width));
  return all;
};
const requests = facts.map((fact) => ({
  prompt: fact.prompt,
  subject: fact.subject,
  target: fact.targetNew,
}));
const numbers = updates.map((update) => ({
  cosine: update?.cosine,
  relativeUpdate: update?.relativeUpdate,
  verdict: update?.verdict,
}));
const pieces: Uint8Array[] = [];
for await (const piece of safetensorsBytes(
  'sequence',
  [
    { name: 'u', dtype: 'F32', shape: [EDITS, F], data: bytesOf(together('U', F)) },
    { name: 'lambda', dtype: 'F32', shape: [EDITS, D], data: bytesOf(together('Lambda', D)) },
  ],
  {
    requests: JSON.stringify(requests),
    numbers: JSON.stringify(numbers),
    documents: JSON.stringify(documents),
    model_sha256: model.sha256,
  },
))
  pieces.push(piece);
const sequence = new Uint8Array(Buffer.concat(pieces));
await writeFile(new URL('sequence.safetensors', here), sequence);

// 3. The replay, as the page does it.
const replayed: ReplayEvent[] = [];
const source = bytesSource('sequence.safetensors', sequence);
await replay(engine, await readReplay(source, layer), REPLAY_PROMPT, (event) => void replayed.push(event), {
  every: 1,
});

const recorded: Recorded = { opened, events, report, trace, turns: angles, replay: replayed };
const plain = JSON.stringify(recorded, (_key, value: unknown) =>
  value instanceof Float32Array ? { f32: Buffer.from(bytesOf(value)).toString('base64') } : value,
);
await writeFile(new URL('recorded.json', here), `${plain}\n`);
gpu.destroy();
