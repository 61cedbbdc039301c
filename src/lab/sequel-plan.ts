/** What the sequel of the paper's study consists of, in which order, and about how long each part of it takes. */
import { METHOD_TABLE } from '../edit/method.ts';
import type { Writing } from '../edit/writing.ts';

export const SEQUEL_PLAN = {
  /** Numbers of facts, ascending. */
  sizes: [1, 10, 100, 1000] as readonly number[],
  /** Facts of a batch where they come batch after batch. */
  batch: 100,
  /** Facts that are judged at most, evenly spread over those that were written; all where it is not said. */
  judged: undefined as number | undefined,
  /** The most facts that are written one by one or batch after batch with norm anchoring, too: these take most time. */
  anchored: 100,
  /** Facts whose values on the unedited model give the length of norm anchoring. */
  calibrated: 100,
};

export type SequelPlan = Readonly<typeof SEQUEL_PLAN>;

export type Mass = Extract<Writing, { kind: 'mass' }>;

/** A method in one of its ways, and the numbers of facts after which the model is asked. */
export interface Part {
  readonly writing: Writing;
  readonly way: 'one by one' | 'one batch' | 'batches';
  readonly anchored: boolean;
  readonly sizes: readonly number[];
}

/**
 * About how long a fact takes, in searches of a value among many (0.6 s on two cores): by it the time left is estimated. A
 * single edit searches alone; a batch whose values are there writes in no time.
 */
export const WORK = { values: 1, batches: 1, 'one by one': 1.6, 'one batch': 0.01, judge: 0.05 } as const;

/** Unanchored first, and what is quick before what is slow, so that a study that is stopped has told most. */
export function partsOf({ sizes, batch, anchored: most }: SequelPlan, writings: readonly Writing[]): Part[] {
  // A batch of all is what one batch shows.
  const several = sizes.filter((facts) => facts > batch && facts % batch === 0);
  const mass = writings.filter(isMass);
  const single = writings.filter((writing) => !isMass(writing));
  return [false, true].flatMap((anchored) => {
    const upTo = (list: readonly number[]) => list.filter((facts) => !anchored || facts <= most);
    return [
      ...mass.flatMap((writing) =>
        sizes.map((facts): Part => ({ writing, way: 'one batch', anchored, sizes: [facts] })),
      ),
      ...single.map((writing): Part => ({ writing, way: 'one by one', anchored, sizes: upTo(sizes) })),
      ...mass.map((writing): Part => ({ writing, way: 'batches', anchored, sizes: upTo(several) })),
    ];
  });
}

/** The work of asking the model after so many facts. */
export function workOfAsking({ judged = Infinity }: SequelPlan, sizes: readonly number[]): number {
  return sizes.reduce((sum, facts) => sum + Math.min(facts, judged), 0) * WORK.judge;
}

/** The work of a part, its questions included. */
export function workOf(plan: SequelPlan, { way, sizes }: Part): number {
  return Math.max(0, ...sizes) * WORK[way] + workOfAsking(plan, sizes);
}

export function isMass(writing: Writing): writing is Mass {
  return writing.kind === 'mass';
}

export function nameOf({ writing, way, anchored }: Part): string {
  return `${METHOD_TABLE[writing.method].title}, ${way}${anchored ? ', anchored' : ''}`;
}
