/**
 * Does a long run leak? Sequential r-ROME edits on the bundled model, with the memory of the process, the live bytes of
 * the GPU at the beginning and at the end, and the pace beside that of a new process.
 *
 *   npx tsx bench/soak.ts [edits = 2000] [steps = 20]
 *
 * Fails when live GPU bytes grow at all, resident memory by more than 5 % after the first 100 edits, or the last 100 edits
 * are over 10 % slower than 100 edits of a new process, started right after: compared with the first ones of hours ago,
 * whatever else the machine did would count. Fewer steps an edit make a quick look: memory is taken in the same pieces.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { readFacts } from '../src/data/read.ts';
import type { Fact } from '../src/data/fact.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { sampleContexts } from '../src/edit/contexts.ts';
import { openGpu } from '../src/gpu/node.ts';
import { Model } from '../src/models/model.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { loadCovariance } from '../src/io/covariance-files.ts';
import { runSequence, type SequenceJournal } from '../src/lab/sequence.ts';

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
    samples.push({ edit, ms: performance.now() - begun, resident, live: gpu.liveBytes });
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
const lives = new Set(samples.map(({ live }) => live));
console.log(`${gpu.adapter.description}: ${edits} edits of ${steps} steps at most`);
const last = pace(edits - 1 - settled, edits - 1);
console.log(`pace: ${pace(0, edits - 1).toFixed(1)} edits a minute, the last ${settled} ${last.toFixed(1)}`);
console.log(`live GPU bytes: ${[...lives].join(', ')}; idle in the pool ${gpu.pool.idleBytes}`);
console.log(
  `resident: ${mib(peak(0, settled))} MiB in the first ${settled} edits, ${mib(peak(edits - settled, edits))} MiB in the last (${(100 * growth).toFixed(1)} %)`,
);
solver.close();
model.destroy();
gpu.destroy();

if (process.env['PALIMPSEST_SOAK'] !== 'yardstick') {
  const fresh = paceOfNewProcess(2 * settled);
  console.log(`a new process right after: ${fresh.toFixed(1)} edits a minute`);
  const good = lives.size === 1 && growth <= 0.05 && last >= 0.9 * fresh;
  console.log(good ? 'no leak' : 'FAILED');
  process.exitCode = good ? 0 : 1;
}

/** Of its second half: the first compiles and fills the pool. */
function paceOfNewProcess(count: number): number {
  const script = fileURLToPath(import.meta.url);
  const { stdout } = spawnSync(process.execPath, ['--import', 'tsx', script, String(count), String(steps)], {
    env: { ...process.env, PALIMPSEST_SOAK: 'yardstick' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return Number(/the last \d+ ([\d.]+)/.exec(stdout)?.[1]);
}

function report(edit: number, resident: number): void {
  const minutes = (performance.now() - begun) / 60_000;
  console.log(
    `${edit}: ${mib(resident)} MiB resident, ${gpu.liveBytes} live GPU bytes, ${(edit / minutes).toFixed(1)} edits a minute`,
  );
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
