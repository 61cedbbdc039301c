/**
 * Where the lines of a run go, in a folder or in memory, and what the line of a batch of facts says.
 *
 * A run is replayed, not saved: its journal holds the updates of every step, and adding them again in order gives the same
 * W, bit for bit, so a run that was killed goes on with the numbers that it would have had.
 */
import * as v from 'valibot';
import { VERDICTS } from '../edit/guard.ts';
import { MASS_METHODS, METHODS } from '../edit/method.ts';

export type Vectors = readonly Float32Array<ArrayBuffer>[];

export interface RunJournal<Head, Line> {
  /** undefined in a new run, until `begin`. */
  readonly head: Head | undefined;
  /** All steps, those added since it was opened too. */
  readonly lines: readonly Line[];
  /** Their vectors, in order, read one by one. */
  readonly vectors: () => AsyncIterable<Vectors>;
  /** Writes what the run is. */
  readonly begin: (head: Head) => Promise<void>;
  /** Adds a step; on a disk it is there when this returns. */
  readonly append: (line: Line, vectors?: Vectors) => Promise<void>;
}

/** A journal that nothing outlives. */
export function memoryJournal<Head, Line>(): RunJournal<Head, Line> {
  const lines: Line[] = [];
  const blocks: Vectors[] = [];
  let head: Head | undefined;
  return {
    get head() {
      return head;
    },
    lines,
    vectors: async function* () {
      yield* blocks;
    },
    begin: async (made) => {
      head = made;
    },
    append: async (line, vectors = []) => {
      lines.push(line);
      blocks.push(vectors);
    },
  };
}

/** What a schema with these entries gives, without the further fields that a loose one lets through. */
export type Entries<E extends v.ObjectEntries> = Readonly<v.InferOutput<v.ObjectSchema<E, undefined>>>;

/** A number; in a file it is null where it was not finite. */
export const NUMBER = v.nullable(v.number()) as v.GenericSchema<number>;

/** What every head says: what the run was started with. Resuming with anything else is refused. */
export const RUN_HEAD = { schema: v.literal(1), settings: v.record(v.string(), v.unknown()) };

/** What is written of a run of facts before its first batch. */
export const FACTS_HEAD = {
  ...RUN_HEAD,
  /** The length of norm anchoring, where it was measured. */
  anchor: v.optional(v.number()),
};

export type FactsHead = Entries<typeof FACTS_HEAD>;

const LAYER = {
  layer: v.number(),
  rank: v.number(),
  update_norm: NUMBER,
  /** Over |W| before the batch. */
  relative_update: NUMBER,
  /** Part of R that the weight of C leaves undone; null for methods that write all of it. */
  undone: v.nullable(v.number()),
};

const BATCH = {
  /** From 1. */
  batch: v.number(),
  method: v.picklist([...METHODS, ...MASS_METHODS]),
  case_ids: v.array(v.number()),
  /** Of the guard: the worst of its layers. */
  verdict: v.picklist(VERDICTS),
  /** Between key and u, of a method for one fact. */
  cosine: v.optional(NUMBER),
  /** false: a disabling batch was left out, and there are no vectors. */
  kept: v.boolean(),
  layers: v.array(v.looseObject(LAYER) as v.GenericSchema<Entries<typeof LAYER>>),
  /** Of each fact: steps of its search, and the loss it ended with. */
  steps: v.array(v.number()),
  loss: v.array(NUMBER),
  seconds: v.number(),
  /** What the vectors of this line are: `u.LAYER`, `lambda.LAYER`, `past.LAYER`, `z`, `K.LAYER`, `R.LAYER`. */
  vectors: v.array(v.string()),
};

/** What of a line is relied on; a journal checks it. */
export const BATCH_LINE = v.looseObject(BATCH);

export interface BatchLine extends Entries<typeof BATCH> {
  /** What was asked of the model when the batch was written. */
  readonly measured?: unknown;
}

/** A vector of a line's block by its name; undefined where there is none. */
export function vectorOf(line: Pick<BatchLine, 'vectors'>, block: Vectors, name: string) {
  return block[line.vectors.indexOf(name)];
}
