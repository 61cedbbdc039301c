/** One edit, timed as a whole and dispatch by dispatch. */
import type { TopLevelSpec } from 'vega-lite';
import { computeEdit, type Edit, type EditPhase } from '../../edit/edit.ts';
import type { EditRequest } from '../../edit/request.ts';
import { identitySolver, type Solver } from '../../edit/covariance-solver.ts';
import type { Model } from '../../models/model.ts';
import { median } from '../../statistics.ts';
import { timingOf } from './measure.ts';
import { traced } from './tokens.ts';

/** One request in 21 contexts, as many tokens as sampled ones have. */
const BENCH_REQUEST: EditRequest = {
  prompt: 'The mother tongue of {} is',
  subject: 'Danielle Darrieux',
  target: 'English',
};

/** The bare prompt, ten beginnings of 4 tokens and ten of 9: what is sampled when nobody hands contexts in. */
export const BENCH_CONTEXTS: readonly string[] = [
  '{}',
  ...[
    'The river runs fast',
    'A long road north',
    'In the old city',
    'She was born there',
    'One of many others',
    'It is said again',
    'The old town is',
    'He came back home',
    'Two years later he',
    'As we know it',
    'The first of them was built in the north',
    'He was one of those who came back home',
    'It was one of the largest in the state',
    'The school is in the south of the county',
    'He played for the club until the next year',
    'The film was made in a very short time',
    'She has two sons and lives in the city',
    'There are three rivers that meet in the town',
    'The line was opened at the end of the war',
    'In the same year the house was sold again',
  ].map((text) => `${text}. {}`),
];

/** Contexts of about `tokens` tokens each, `count` of them, the bare prompt first. */
export function contextsOfLength(tokens: number, count: number): string[] {
  const words = ['and', 'the', 'other', 'one'];
  const text = Array.from({ length: tokens }, (_, i) => words[i % words.length]).join(' ');
  return ['{}', ...Array.from({ length: count - 1 }, () => `${text}. {}`)];
}

export interface EditBenchOptions {
  readonly layer: number;
  readonly contexts?: readonly string[] | undefined;
  /** Default: C = I. */
  readonly solver?: Solver | undefined;
  /** Default 20. */
  readonly steps?: number | undefined;
  /** Timed edits, after one that compiles and one that is traced; 0: the first alone. Default 3. */
  readonly runs?: number | undefined;
  /** No more runs once `performance.now()` is past this. */
  readonly end?: number;
  /** Runs the whole model in every step as well, after each edit with a frozen prefix. */
  readonly whole?: boolean;
  /** One more edit, dispatch by dispatch, where the adapter has timestamps. Default true. */
  readonly trace?: boolean;
  readonly signal?: AbortSignal | undefined;
}

interface Timed {
  readonly edit: Edit;
  readonly ms: number;
}

/** @throws UsageError for a layer that is not there */
export async function benchEdit(model: Model, options: EditBenchOptions) {
  const { layer, contexts = BENCH_CONTEXTS, solver = identitySolver(), steps = 20, signal } = options;
  const { runs = 3, whole = false, end = Infinity } = options;
  const { gpu } = model;
  const once = async (freeze: boolean): Promise<Timed> => {
    await gpu.sync();
    const start = performance.now();
    const edit = await computeEdit(model, BENCH_REQUEST, {
      ...{ methods: ['r-rome'], layer, contexts, solver, steps, freeze },
      signal,
    });
    return { edit, ms: performance.now() - start };
  };

  const cold = await once(true);
  const frozen: Timed[] = [];
  const wholes: Timed[] = [];
  for (let run = 0; run < runs && performance.now() < end; run += 1) {
    frozen.push(await once(true));
    if (whole) wholes.push(await once(false));
  }
  const list = frozen.length > 0 ? frozen : [cold];
  const last = (list.at(-1) as Timed).edit;
  const phase = (name: EditPhase): number => median(list.map(({ edit }) => edit.timings[name]));
  const again = async (): Promise<number> => (await once(true)).ms;
  return {
    contexts: contexts.length,
    /** Tokens of one step. */
    stepTokens: last.stepTokens,
    /** Forward passes that were run: fewer than asked for where the loss was low enough. */
    steps: last.trace.length,
    /** |C x − k| / |k|; 0 where C = I. */
    residual: last.updates.get('r-rome')?.solved.residual ?? NaN,
    /** ms of the first edit: pipelines are made, buffers found. */
    cold: cold.ms,
    edit: timingOf(list.map(({ ms }) => ms)),
    /** Medians, ms. */
    phases: {
      contexts: phase('contexts'),
      value: phase('value'),
      solve: phase('solve'),
      update: phase('update'),
    },
    whole: wholes.length > 0 ? compared(frozen, wholes) : undefined,
    trace:
      options.trace === false || runs === 0 || performance.now() > end
        ? undefined
        : await traced(model, again),
  };
}

/** With `--no-freeze`, and how many times longer: the median of ratios run by run. */
function compared(frozen: readonly Timed[], wholes: readonly Timed[]) {
  return {
    edit: timingOf(wholes.map(({ ms }) => ms)),
    stepTokens: wholes[0]?.edit.stepTokens ?? 0,
    ratio: median(wholes.map(({ ms }, i) => ms / (frozen[i]?.ms ?? NaN))),
  };
}

export interface Point {
  readonly size: string;
  readonly seconds: number;
}

/** Two panels, both axes logarithmic: a straight line of slope 1 is time in proportion. */
export function scalingFigure(
  title: string,
  sizes: readonly (Point & { readonly parameters: number })[],
  lengths: readonly (Point & { readonly tokens: number })[],
): TopLevelSpec {
  const mark = { type: 'line', point: true } as const;
  // Room for the names of the outermost points.
  const log = { scale: { type: 'log', nice: false, padding: 24 }, type: 'quantitative' } as const;
  const y = { field: 'seconds', title: 'seconds of an edit', ...log } as const;
  const label = { type: 'text', dy: -10 } as const;
  const panel = { width: 260, height: 220 };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title,
    background: 'white',
    hconcat: [
      {
        ...panel,
        data: { values: [...sizes] },
        encoding: { x: { field: 'parameters', title: 'parameters', axis: { format: '~s' }, ...log }, y },
        layer: [{ mark }, { mark: label, encoding: { text: { field: 'size' } } }],
      },
      {
        ...panel,
        data: { values: [...lengths] },
        encoding: { x: { field: 'tokens', title: 'tokens of a context', ...log }, y },
        mark,
      },
    ],
  };
}
