/** One edit, timed as a whole and dispatch by dispatch. */
import { computeEdit } from '../../edit/edit.ts';
import type { Edit, EditPhase } from '../../edit/edit.ts';
import { identitySolver } from '../../edit/covariance-solver.ts';
import type { Model } from '../../models/model.ts';
import { kernelTime, profileOf } from '../profile.ts';
import type { KernelTime, ProfileRow } from '../profile.ts';
import { median } from '../../statistics.ts';
import { timingOf } from './statistics.ts';
import type { Timing } from './statistics.ts';
import { BENCH_CONTEXTS, BENCH_REQUEST } from './workload.ts';

export interface EditBenchOptions {
  readonly layer: number;
  readonly contexts?: readonly string[];
  /** Default 20. */
  readonly steps?: number;
  /** Timed edits, after one that compiles and one that is traced. Default 3. */
  readonly runs?: number;
  /** Runs the whole model in every step as well, after each edit with a frozen prefix. */
  readonly whole?: boolean;
  /** One more edit, dispatch by dispatch, where the adapter has timestamps. Default true. */
  readonly trace?: boolean;
  readonly signal?: AbortSignal;
}

export interface EditBench {
  readonly contexts: number;
  /** Tokens of one step. */
  readonly stepTokens: number;
  /** Forward passes that were run: fewer than asked for where the loss was low enough. */
  readonly steps: number;
  /** ms of the first edit: pipelines are made, buffers found. */
  readonly cold: number;
  readonly edit: Timing;
  /** Medians, ms. */
  readonly phases: Readonly<Record<EditPhase, number>>;
  /** With `--no-freeze`, and how many times longer: the median of ratios run by run. */
  readonly whole?: { readonly edit: Timing; readonly stepTokens: number; readonly ratio: number };
  /** Of one more edit; absent where the adapter has no timestamps. */
  readonly trace?: {
    readonly wall: number;
    readonly kernels: KernelTime;
    readonly rows: readonly ProfileRow[];
  };
}

interface Timed {
  readonly edit: Edit;
  readonly ms: number;
}

/** @throws UsageError for a layer that is not there */
export async function benchEdit(model: Model, options: EditBenchOptions): Promise<EditBench> {
  const { layer, contexts = BENCH_CONTEXTS, steps = 20, runs = 3, whole = false, signal } = options;
  const { gpu } = model;
  const once = async (freeze: boolean): Promise<Timed> => {
    await gpu.sync();
    const start = performance.now();
    const edit = await computeEdit(model, BENCH_REQUEST, {
      ...{ methods: ['r-rome'], layer, contexts, solver: identitySolver(), steps, freeze },
      ...(signal ? { signal } : {}),
    });
    return { edit, ms: performance.now() - start };
  };

  const cold = await once(true);
  const frozen: Timed[] = [];
  const wholes: Timed[] = [];
  for (let run = 0; run < runs; run += 1) {
    frozen.push(await once(true));
    if (whole) wholes.push(await once(false));
  }
  const list = frozen.length > 0 ? frozen : [cold];
  const last = (list.at(-1) as Timed).edit;
  const phase = (name: EditPhase): number => median(list.map(({ edit }) => edit.timings[name]));
  const trace = gpu.timer.available && options.trace !== false ? await traced(model, once) : undefined;
  return {
    contexts: contexts.length,
    stepTokens: last.stepTokens,
    steps: last.trace.length,
    cold: cold.ms,
    edit: timingOf(list.map(({ ms }) => ms)),
    phases: {
      contexts: phase('contexts'),
      value: phase('value'),
      solve: phase('solve'),
      update: phase('update'),
    },
    ...(wholes.length > 0 ? { whole: compared(frozen, wholes) } : {}),
    ...(trace ? { trace } : {}),
  };
}

function compared(frozen: readonly Timed[], wholes: readonly Timed[]): NonNullable<EditBench['whole']> {
  return {
    edit: timingOf(wholes.map(({ ms }) => ms)),
    stepTokens: wholes[0]?.edit.stepTokens ?? 0,
    ratio: median(wholes.map(({ ms }, i) => ms / (frozen[i]?.ms ?? NaN))),
  };
}

async function traced(
  { gpu }: Model,
  once: (freeze: boolean) => Promise<Timed>,
): Promise<NonNullable<EditBench['trace']>> {
  gpu.timer.start();
  const { ms } = await once(true);
  const rows = profileOf(await gpu.times());
  gpu.timer.stop();
  return { wall: ms, kernels: kernelTime(rows), rows };
}
