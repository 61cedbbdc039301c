/** How an edit goes wrong: the prompt's key turned away from u, and the paper's 17th edit replayed. */
import { computeEdit } from '../../src/edit/edit.ts';
import type { Update } from '../../src/edit/edit.ts';
import { withUpdate, applyEdits } from '../../src/edit/apply.ts';
import { frobenius } from '../../src/edit/frobenius.ts';
import { judge } from '../../src/edit/guard.ts';
import { readRequest } from '../../src/edit/request.ts';
import type { EditRequest } from '../../src/edit/request.ts';
import { readLambdaStats, solveLambda } from '../../src/edit/update.ts';
import type { LowRankUpdate } from '../../src/edit/update.ts';
import { UsageError } from '../../src/errors.ts';
import { heldOut, perplexity } from '../../src/lab/health.ts';
import { readSafetensors } from '../../src/formats/safetensors.ts';
import type { ByteSource } from '../../src/formats/source.ts';
import { norm } from '../../src/statistics.ts';
import { read, upload } from '../../src/tensor/tensor.ts';
import { generate } from '../../src/models/generate.ts';
import { SEED } from './engine.ts';
import type { Engine } from './engine.ts';
import type { ReplayEvent, ReplayStep, Turn, Vector, Written } from './protocol.ts';

/** The likeliest tokens that a text is drawn from. */
const SAMPLED_FROM = 5;

/** A key of the same length, `angle` degrees from u, in the plane of both. */
function turned(key: Vector, u: Vector, angle: number): Vector {
  const [length, radians] = [norm(key), (angle * Math.PI) / 180];
  const along = key.reduce((sum, x, i) => sum + x * (u[i] ?? NaN), 0);
  const across = key.map((x, i) => x - along * (u[i] ?? NaN));
  const rest = norm(across);
  return key.map(
    (_, i) => length * (Math.cos(radians) * (u[i] ?? NaN) + (Math.sin(radians) * (across[i] ?? NaN)) / rest),
  );
}

function lastEdit({ last }: Engine): NonNullable<Engine['last']> {
  if (!last) throw new UsageError('there is no edit yet: make one first.');
  return last;
}

/** ROME's Λ of the last edit, had the bare prompt's key stood at another angle to u. */
async function romeAt(engine: Engine, angle: number): Promise<Turn & { readonly update: LowRankUpdate }> {
  const { edit } = lastEdit(engine);
  const { gpu } = engine.model;
  const { U: u } = edit.updates.get('rome') as Update;
  const { v_star: vStar, v_prompt: value, k_prompt: key } = edit.vectors;
  const weightNorm = await frobenius(gpu, engine.model.editedWeight(engine.layer).tensor);
  return gpu.scope(async (s) => {
    const { lambda, stats } = solveLambda(s, {
      vStar: upload(s, vStar, [vStar.length], 'v_star'),
      value: upload(s, value, [value.length], 'value'),
      key: upload(s, turned(key, u, angle), [key.length], 'key'),
      u: upload(s, u, [u.length], 'u'),
    });
    const { cosine, lambdaNorm } = await readLambdaStats(gpu, stats);
    const relativeUpdate = lambdaNorm / weightNorm;
    const update = { layer: engine.layer, U: u, Lambda: await read(gpu, lambda), rank: 1 };
    return { angle, cosine, lambdaNorm, relativeUpdate, verdict: judge(cosine, relativeUpdate), update };
  });
}

/** A text that goes on from a prompt, sampled with a fixed seed. */
async function write(
  { model }: Engine,
  prompt: string,
  tokens: number,
  signal?: AbortSignal,
): Promise<string> {
  const { tokenizer, dims } = model;
  const ids = tokenizer.encode(prompt);
  const room = Math.max(1, Math.min(tokens, dims.context - ids.length));
  const [added = []] = await generate(model, [ids], {
    tokens: room,
    topK: SAMPLED_FROM,
    seed: SEED,
    signal,
  });
  return tokenizer.decodeAfter(added);
}

export async function turns(engine: Engine, angles: readonly number[]): Promise<Turn[]> {
  const found: Turn[] = [];
  for (const angle of angles) {
    const { update: _, ...turn } = await romeAt(engine, angle);
    found.push(turn);
  }
  return found;
}

/** What the model writes with ROME's update at that angle, and with r-ROME's, whose keys do not turn. */
export async function turn(
  engine: Engine,
  angle: number,
  prompt: string,
  tokens: number,
  signal?: AbortSignal,
): Promise<{ rome: string; rRome: string }> {
  const { update } = await romeAt(engine, angle);
  const rRome = lastEdit(engine).edit.updates.get('r-rome') as Update;
  const said = (): Promise<string> => write(engine, prompt, tokens, signal);
  return {
    rome: await withUpdate(engine.model, update, said),
    rRome: await withUpdate(engine.model, rRome, said),
  };
}

/** The first 16 edits of ROME's sequence, computed before, and the 17th to be computed. */
export interface Replay {
  readonly requests: readonly EditRequest[];
  readonly updates: readonly LowRankUpdate[];
  readonly numbers: readonly Pick<ReplayStep, 'cosine' | 'relativeUpdate' | 'verdict'>[];
  /** Whose perplexity is followed. */
  readonly documents: readonly string[];
}

/** Tokens of a text. */
const TOKENS = 40;
/** On software adapters perplexity is measured after every so many edits. */
const EVERY = 8;

/**
 * ROME's 17 first edits of the paper's sequence on the base model; the visitor's own edits are put back at the end. 16 were
 * computed before and are added, the 17th is computed here and now.
 */
export async function replay(
  engine: Engine,
  { requests, updates, numbers, documents }: Replay,
  prompt: string,
  on: (event: ReplayEvent) => void,
  { every, signal }: { readonly every?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { model } = engine;
  const pace = every ?? (model.gpu.adapter.kind === 'gpu' ? 1 : EVERY);
  const ids = heldOut(model, documents);
  const measure = async (): Promise<number> => (await perplexity(model, ids)) ?? NaN;
  const tell = async (state: Written['state'], at: number): Promise<void> => {
    const text = await write(engine, prompt, TOKENS, signal);
    on({ kind: 'text', written: { state, text, perplexity: at } });
  };
  const contexts = await engine.contexts(undefined, signal);
  engine.base();
  try {
    const before = await measure();
    const nothing = { relativeUpdate: 0, cosine: 1, verdict: 'ok' as const };
    on({ kind: 'step', at: { edits: 0, subject: '', target: '', ...nothing, perplexity: before } });
    await tell('before', before);
    let last = before;
    for (const [i, update] of updates.entries()) {
      signal?.throwIfAborted();
      await applyEdits(model, [update]);
      const { subject, target } = requests[i] as EditRequest;
      const due = (i + 1) % pace === 0;
      if (due) last = await measure();
      const edits = { edits: i + 1, subject, target, perplexity: due ? last : undefined };
      on({ kind: 'step', at: { ...edits, ...(numbers[i] as Replay['numbers'][number]) } });
    }
    await tell('sixteen', last);
    const request = requests[updates.length] as EditRequest;
    const edit = await computeEdit(model, readRequest(request), {
      methods: ['rome', 'r-rome'],
      layer: engine.layer,
      contexts,
      solver: await engine.solver(),
      clamp: engine.parts.clamp,
      signal,
    });
    for (const method of ['rome', 'r-rome'] as const) {
      const update = edit.updates.get(method) as Update;
      const { relativeUpdate, cosine, verdict } = update;
      await withUpdate(model, update, async () => {
        const after = await measure();
        const { subject, target } = request;
        const at = { edits: updates.length + 1, subject, target, relativeUpdate, cosine, verdict };
        on({ kind: method === 'rome' ? 'step' : 'rescue', at: { ...at, perplexity: after } });
        await tell(method, after);
      });
    }
  } finally {
    await engine.restore();
  }
}

/** The file that `record.ts` writes: u [16, F] and lambda [16, D], the rest as JSON in its metadata. */
export async function readReplay(source: ByteSource, layer: number): Promise<Replay> {
  const file = await readSafetensors(source);
  const json = <T>(name: string): T => JSON.parse(file.metadata[name] ?? 'null') as T;
  const [u, lambda] = [await file.readFloats('u'), await file.readFloats('lambda')];
  const [F, D] = [file.info('u').shape[1] ?? 0, file.info('lambda').shape[1] ?? 0];
  const updates = Array.from({ length: u.length / F }, (_, i) => ({
    layer,
    U: u.slice(i * F, (i + 1) * F),
    Lambda: lambda.slice(i * D, (i + 1) * D),
    rank: 1,
  }));
  return { requests: json('requests'), updates, numbers: json('numbers'), documents: json('documents') };
}
