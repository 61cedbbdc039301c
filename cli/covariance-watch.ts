/** What a build says of its own quality: whether u still moves, and at the end how well C can be solved with. */
import { ConvergenceProbe } from '../src/edit/convergence.ts';
import type { Convergence } from '../src/edit/convergence.ts';
import type { CovarianceBuild } from '../src/edit/covariance.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { EditRefused } from '../src/errors.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { readC } from '../src/formats/covariance-file.ts';
import { openCovariance } from '../src/io/covariance-files.ts';
import type { BuiltFile } from '../src/io/covariance-build.ts';
import { count } from './covariance-words.ts';
import type { Terminal } from './terminal.ts';
import { short } from './text.ts';

/** Looking takes at most this part of the time. */
const SHARE = 0.05;

export class Watch {
  readonly #probe: ConvergenceProbe;
  readonly #terminal: Terminal;
  readonly looks: Convergence[] = [];
  #readyAt = 0;

  constructor(gpu: Gpu, terminal: Terminal) {
    this.#probe = new ConvergenceProbe(gpu);
    this.#terminal = terminal;
  }

  async look({ moments, probes }: Pick<CovarianceBuild<unknown>, 'moments' | 'probes'>): Promise<void> {
    const start = performance.now();
    if (start < this.#readyAt) return;
    for (const [layer, moment] of moments) {
      const keys = probes.get(layer);
      const found = keys && (await this.#probe.look(layer, moment, keys));
      if (!found) continue;
      this.looks.push(found);
      if (found.change !== undefined)
        this.#terminal.note(
          `palimpsest: ${count(found.tokens)} tokens; u of probe keys in layer ${layer} moved by ${percent(found.change)} since the last look`,
        );
    }
    const end = performance.now();
    this.#readyAt = end + (end - start) / SHARE;
  }
}

/** Condition, effective rank and smallest pivot of a finished file; undefined for parts and files from too little text. */
export async function quality(
  gpu: Gpu,
  { path, facts }: BuiltFile,
): Promise<Record<string, number> | undefined> {
  if (facts.shards) return undefined;
  const file = await openCovariance(path);
  const panels = await readC(file);
  try {
    const { size, tokens } = facts;
    const solver = await covarianceSolver(gpu, {
      key: file.key,
      size,
      tokens,
      panels,
    });
    try {
      const { condition, effectiveRank } = await solver.spectrum();
      const { smallestPivot, ridge } = solver.factor;
      return { effective_rank: effectiveRank, condition, smallest_pivot: smallestPivot, ridge };
    } finally {
      solver.close();
    }
  } catch (error) {
    if (error instanceof EditRefused) return undefined;
    throw error;
  }
}

export function tellQuality(found: Record<string, number>, terminal: Terminal): void {
  const { effective_rank: rank = NaN, condition = NaN, smallest_pivot: pivot = NaN, ridge = NaN } = found;
  terminal.say(
    `effective rank ${short(rank)}, condition about ${condition.toPrecision(2)}, smallest pivot ${pivot.toPrecision(2)}, ridge ${ridge === 0 ? 'none' : ridge.toPrecision(2)}`,
  );
}

function percent(x: number): string {
  return `${(100 * x).toPrecision(2)} %`;
}
