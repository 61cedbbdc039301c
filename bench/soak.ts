/**
 * Does a long run leak? Sequential r-ROME edits on the bundled model, with the memory of the process, the live bytes of
 * the GPU and the pace at the beginning and at the end.
 *
 *   npx tsx bench/soak.ts [edits = 2000] [steps = 20]
 *
 * Fails when live GPU bytes grow at all, resident memory by more than 5 % after the first 100 edits, or an edit takes
 * over 10 % more CPU time in the last quarter than in the first (the pace by the clock, told too, also depends on what
 * else runs; a software adapter computes on the CPU, so its work counts). Fewer steps an edit make a quick look: memory
 * is taken in the same pieces.
 */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { readFacts } from '../src/data/read.ts';
import type { Fact } from '../src/data/fact.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { sampleContexts } from '../src/edit/sample-contexts.ts';
import { openGpu } from '../src/gpu/node.ts';
import { Model } from '../src/gpt2/model.ts';
import { openCheckpoint } from '../src/io/checkpoint.ts';
import { loadCovariance } from '../src/io/covariance-load.ts';
import { runSequence } from '../src/lab/sequence.ts';
import type { SequenceJournal } from '../src/lab/sequence.ts';

const LAYER = 1;
const SETTLED = 100;
const [edits = 2000, steps = 20] = process.argv.slice(2).map(Number);
const path = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));

const gpu = await openGpu();
const checkpoint = await openCheckpoint(path('weights/facts'));
const model = await Model.load(gpu, checkpoint);
const covariance = await loadCovariance(
  path(`weights/facts/covariance-layer-${LAYER}.safetensors`),
  checkpoint,
  LAYER,
);
const solver = await covarianceSolver(gpu, covariance);
const contexts = await sampleContexts(model, 0);
const all = readFacts(readFileSync(path('data/counterfact.json'), 'utf8'), 'counterfact.json');
const facts = Array.from({ length: edits }, (_, i) => all[i % all.length] as Fact);

interface Sample {
  readonly edit: number;
  readonly ms: number;
  /** Seconds of CPU time, all threads. */
  readonly cpu: number;
  readonly resident: number;
  readonly live: number;
}
const samples: Sample[] = [];
const begun = performance.now();

/** Keeps nothing: what grows is not the journal. */
const journal: SequenceJournal = {
  head: undefined,
  lines: [],
  vectors: async function* () {},
  begin: async () => {},
  append: async ({ edit }) => {
    const resident = process.memoryUsage().rss;
    const { user, system } = process.cpuUsage();
    const cpu = (user + system) / 1e6;
    samples.push({ edit, ms: performance.now() - begun, cpu, resident, live: gpu.liveBytes });
    if (edit % 50 === 0 || edit === edits) report(edit, resident);
  },
};

await runSequence(
  model,
  facts,
  {
    method: 'r-rome',
    edit: { layer: LAYER, contexts, solver, steps },
    onCollapse: 'warn',
    every: 0,
    documents: [],
    seed: 0,
  },
  journal,
);

const at = (i: number): Sample => samples[Math.min(samples.length - 1, Math.max(0, i))] as Sample;
const pace = (from: number, to: number): number =>
  (60_000 * (at(to).edit - at(from).edit)) / (at(to).ms - at(from).ms);
/** The highest of a stretch: a single sample depends on when memory was last collected. */
const peak = (from: number, to: number): number =>
  Math.max(...samples.slice(from, to).map(({ resident }) => resident));
const settled = Math.min(SETTLED, edits >> 1);
const growth = peak(edits - settled, edits) / peak(0, settled) - 1;
const quarters = [
  [settled, edits >> 2 > settled ? edits >> 2 : edits >> 1],
  [edits - (edits >> 2) - 1, edits - 1],
] as const;
const [first = 0, last = 0] = quarters.map(([from, to]) => pace(from, to));
const [cpuFirst = 0, cpuLast = 0] = quarters.map(
  ([from, to]) => (at(to).cpu - at(from).cpu) / (at(to).edit - at(from).edit),
);
const lives = new Set(samples.map(({ live }) => live));
console.log(`${gpu.adapter.description}: ${edits} edits of ${steps} steps at most`);
console.log(
  `pace: ${pace(0, edits - 1).toFixed(1)} edits a minute; first quarter ${first.toFixed(1)}, last ${last.toFixed(1)}`,
);
console.log(`CPU time of an edit: first quarter ${cpuFirst.toFixed(2)} s, last ${cpuLast.toFixed(2)} s`);
console.log(`live GPU bytes: ${[...lives].join(', ')}; idle in the pool ${gpu.pool.idleBytes}`);
console.log(
  `resident: ${mib(peak(0, settled))} MiB in the first ${settled} edits, ${mib(peak(edits - settled, edits))} MiB in the last (${(100 * growth).toFixed(1)} %)`,
);
const good = lives.size === 1 && growth <= 0.05 && cpuLast <= 1.1 * cpuFirst;
console.log(good ? 'no leak' : 'FAILED');
solver.close();
model.destroy();
gpu.destroy();
process.exitCode = good ? 0 : 1;

function report(edit: number, resident: number): void {
  const minutes = (performance.now() - begun) / 60_000;
  console.log(
    `${edit}: ${mib(resident)} MiB resident, ${gpu.liveBytes} live GPU bytes, ${(edit / minutes).toFixed(1)} edits a minute`,
  );
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
