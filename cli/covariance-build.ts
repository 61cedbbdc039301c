/** How a build of C is followed: how far it is, whether more text would still change an edit, and what came of it. */
import { ConvergenceProbe, type Convergence } from '../src/edit/convergence.ts';
import { covarianceSolver, type Solver } from '../src/edit/covariance-solver.ts';
import { buildCovariance } from '../src/edit/covariance.ts';
import type { Placed } from '../src/edit/pack-documents.ts';
import { EditRefused } from '../src/errors.ts';
import { readC } from '../src/formats/covariance-file.ts';
import { type CovarianceFacts, formatShards } from '../src/formats/covariance-identity.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { buildFiles, type CorpusSums, type BuildJob } from '../src/io/covariance-build.ts';
import { openCovariance, type BuiltFile } from '../src/io/covariance-files.ts';
import { duration, short } from '../src/numerals.ts';
import type { Run } from './commands.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Runs a build, shows how far it is, and looks now and then whether u still moves. */
export async function follow(gpu: Gpu, job: BuildJob, { terminal, signal }: Run) {
  const view = buildProgress(terminal, job);
  const watch = watchOf(gpu, terminal);
  let built: readonly BuiltFile[] = [];
  try {
    for await (const event of buildFiles({ ...job, signal })) {
      if (event.kind === 'notice') terminal.note(`palimpsest: ${event.text}`);
      else if (event.kind === 'resumed') {
        terminal.note(`palimpsest: going on from ${count(event.tokens)} tokens that were saved`);
      } else if (event.kind === 'batch') view.update(event);
      else if (event.kind === 'finished') built = event.files;
      else await watch.look(event.sums);
    }
  } finally {
    view.stop();
  }
  return { built, convergence: watch.looks };
}

/** The rate is that of the last so many milliseconds of this process. */
const WINDOW_MS = 30_000;
const STEPS = 10_000;
/** A rate of so many milliseconds is worth telling; the first batch, which compiles, is not in it. */
const ESTIMATE_MS = 1500;

/** Tokens, tokens a second and the time left: a bar on a terminal, a line every ten seconds elsewhere. */
function buildProgress(terminal: Terminal, { layers, tokens: wanted }: BuildJob) {
  /** `fraction` of all work, 0 to 1. */
  const samples: { readonly ms: number; readonly tokens: number; readonly fraction: number }[] = [];
  let [tail, isEstimated] = ['', false];
  const unit = (n: number): string => (n === STEPS ? tail : count(samples.at(-1)?.tokens ?? 0));
  const bar = terminal.progress(`layer ${layers.join(', ')}`, unit);
  const update = ({ tokens, fraction }: Omit<(typeof samples)[number], 'ms'>): void => {
    const now = { ms: performance.now(), tokens, fraction };
    samples.push(now);
    while (samples.length > 2 && now.ms - (samples[0] ?? now).ms > WINDOW_MS) samples.shift();
    const first = samples[0] ?? now;
    const seconds = (now.ms - first.ms) / 1000;
    const part = fraction - first.fraction;
    const all = count(wanted ?? Math.round(tokens / fraction));
    const parts = [`${wanted === undefined ? 'about ' : ''}${all} tokens`];
    if (tokens > first.tokens) parts.push(`${count(Math.round((tokens - first.tokens) / seconds))}/s`);
    if (part > 0) parts.push(`${duration(((1 - fraction) / part) * seconds)} left`);
    tail = parts.join(', ');
    // Once, as soon as a rate can be told: how long all of it will take.
    if (!isEstimated && seconds * 1000 >= ESTIMATE_MS && part > 0) {
      isEstimated = true;
      terminal.note(`palimpsest: it will take about ${duration(seconds / part)}`);
    }
    bar.update(Math.min(STEPS - 1, Math.floor(fraction * STEPS)), STEPS);
  };
  return { ...bar, update };
}

/** Looking takes at most this part of the time. */
const SHARE = 0.05;

/** Whether more text would still change an edit: how far u of probe keys moves from look to look. */
function watchOf(gpu: Gpu, terminal: Terminal) {
  const probe = new ConvergenceProbe(gpu);
  const looks: Convergence[] = [];
  let readyAt = 0;
  const look = async ({ moments, probes }: CorpusSums): Promise<void> => {
    const start = performance.now();
    if (start < readyAt) return;
    for (const [layer, moment] of moments) {
      const keys = probes.get(layer);
      const found = keys && (await probe.look(layer, moment, keys));
      if (!found) continue;
      looks.push(found);
      if (found.change !== undefined)
        terminal.note(
          `palimpsest: ${count(found.tokens)} tokens; u of probe keys in layer ${layer} moved by ${(100 * found.change).toPrecision(2)} % since the last look`,
        );
    }
    const end = performance.now();
    readyAt = end + (end - start) / SHARE;
  };
  return { looks, look };
}

/** How well C can be solved with, of a finished file; undefined for a part, and for a file from too little text. */
export async function qualityOf(gpu: Gpu, { path, facts }: BuiltFile) {
  if (facts.shards) return undefined;
  const file = await openCovariance(path);
  const { size, tokens } = facts;
  try {
    const solver = await covarianceSolver(gpu, { key: file.key, size, tokens, panels: await readC(file) });
    const { smallestPivot, ridge } = solver.factor;
    const { condition, effectiveRank } = await solver.spectrum().finally(() => solver.close());
    return { effective_rank: effectiveRank, condition, smallest_pivot: smallestPivot, ridge };
  } catch (error) {
    if (error instanceof EditRefused) return undefined;
    throw error;
  }
}

type Quality = Awaited<ReturnType<typeof qualityOf>>;

export function tell({ path, facts, reused }: BuiltFile, terminal: Terminal, quality?: Quality): void {
  terminal.print(path);
  const shard = facts.shards ? `shard ${formatShards(facts.shards)}, ` : '';
  const size = `${shard}${count(facts.tokens)} tokens, ${count(facts.documents)} documents of ${facts.corpusName}`;
  terminal.say(`layer ${facts.layer} of ${facts.model}: ${size}${reused ? '; it was there already' : ''}`);
  if (!quality) return;
  const { effective_rank: rank, condition, smallest_pivot: pivot, ridge } = quality;
  terminal.say(
    `effective rank ${short(rank)}, condition about ${condition.toPrecision(2)}, smallest pivot ${pivot.toPrecision(2)}, ridge ${ridge === 0 ? 'none' : ridge.toPrecision(2)}`,
  );
}

export function warnOfText(facts: CovarianceFacts, wanted: number | undefined, terminal: Terminal): void {
  const { tokens, size, shards, empty, invalid } = facts;
  if (empty > 0) terminal.note(`palimpsest: ${count(empty)} empty documents were left out.`);
  if (invalid > 0)
    terminal.warn(`${count(invalid)} documents have bytes that are no UTF-8; each was read as U+FFFD.`);
  if (wanted !== undefined && tokens < wanted)
    terminal.warn(`the corpus ended after ${count(tokens)} of the ${count(wanted)} tokens asked for.`);
  if (tokens < 2 * size && !shards)
    terminal.warn(
      `${count(tokens)} tokens are too few for keys of ${size} numbers: an edit wants ${count(2 * size)} at least, ten times that for a good C.`,
    );
}

export function resultOf({ path, key, facts, reused }: BuiltFile): Record<string, unknown> {
  const { layer, tokens, documents, cut, empty, invalid } = facts;
  return {
    file: path,
    key,
    layer,
    tokens,
    documents,
    documents_cut: cut,
    documents_empty: empty,
    documents_invalid_utf8: invalid,
    reused,
  };
}

export function count(n: number): string {
  return n.toLocaleString('en');
}

/** Ten times the rank that C must have. */
const TOKENS_PER_KEY = 10;

/**
 * Solvers by layer; C of all `layers` is built in one pass when the first one is asked for.
 *
 * @param texts documents, as many as are needed are read
 */
export function layerSolvers(
  { model, gpu, atEnd, signal }: Session,
  texts: readonly string[],
  layers: readonly number[],
): (layer: number) => Promise<Solver> {
  const tokens = TOKENS_PER_KEY * model.dims.F;
  let building: ReturnType<typeof build> | undefined;
  const build = () => buildCovariance(model, { layers, tokens, documents: () => placed(texts), signal });
  return async (layer) => {
    const { built, tokens: counted } = await (building ??= build());
    const found = built.find((one) => one.layer === layer);
    if (!found) throw new RangeError(`covariance: layer ${layer} is none of ${layers.join(', ')}.`);
    const key = `sweep-layer-${layer}`;
    const solver = await covarianceSolver(gpu, {
      key,
      size: model.dims.F,
      tokens: counted,
      panels: found.covariance,
    });
    atEnd(() => solver.close());
    return solver;
  };
}

async function* placed(texts: readonly string[]): AsyncGenerator<Placed<number>> {
  for (const [index, text] of texts.entries()) yield { text, index, next: index + 1 };
}
