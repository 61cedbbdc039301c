import { ModelError, UsageError } from '../errors.ts';

/**
 * Seeded random numbers: xoshiro128**, 32 bits a draw, period 2^128 - 1.
 *
 * Everything random in an edit comes from here, so that a seed gives the same contexts on every machine and version.
 *
 * @see Blackman and Vigna 2021, "Scrambled linear pseudorandom number generators"
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /**
   * @param seed    a whole number from 0 to 2^53 - 1
   * @param stream  another sequence of the same seed, e.g. one an edit, so that a resumed run needs no earlier draws
   * @throws UsageError for other numbers
   */
  constructor(seed: number, stream = 0) {
    for (const [name, value] of [['seed', seed] as const, ['stream', stream] as const]) {
      if (Number.isSafeInteger(value) && value >= 0) continue;
      throw new UsageError(`${name}: expected a whole number from 0 to 2^53 - 1, found ${value}.`);
    }
    const words = [
      seed % 2 ** 32,
      Math.floor(seed / 2 ** 32),
      stream % 2 ** 32,
      Math.floor(stream / 2 ** 32),
    ];
    // Every word of state takes in every word of the seed, each in its own order of mixing.
    const absorb = (start: number) => words.reduce((h, word) => scramble((h ^ word) + GOLDEN), start);
    [this.a, this.b, this.c, this.d] = [absorb(1), absorb(2), absorb(3), absorb(4)];
    if ((this.a | this.b | this.c | this.d) === 0) this.a = 1; // the one state the generator never leaves
  }

  /** The next 32 bits, as an unsigned number. */
  bits(): number {
    const result = Math.imul(rotate(Math.imul(this.b, 5), 7), 9) >>> 0;
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = rotate(this.d, 11);
    return result;
  }

  /** Uniform in [0, 1), a multiple of 2^-32. */
  uniform(): number {
    return this.bits() / 2 ** 32;
  }
}

/** 2^32 over the golden ratio: a step whose multiples spread evenly. */
const GOLDEN = 0x9e3779b9;

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** Mixes 32 bits so that each input bit changes half of the output. Source: MurmurHash3's finaliser, Appleby. */
function scramble(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * One token id drawn from the k most likely, by softmax over those k.
 *
 * Among equal logits the lower id ranks first. The draw walks the ranks, best first, and always takes exactly one number
 * from `random`, also when k is 1.
 *
 * @param logits  [V]
 * @throws UsageError when k is not a whole number from 1; ModelError when a logit is NaN or the best is not finite
 */
export function sampleTopK(logits: Float32Array, k: number, random: Random): number {
  if (!Number.isInteger(k) || k < 1) {
    throw new UsageError(`top-k: expected a whole number from 1, found ${k}.`);
  }
  const ids = topK(logits, k);
  const best = logits[ids[0] ?? 0] ?? Number.NaN;
  if (!Number.isFinite(best)) {
    throw new ModelError(
      `sampling: expected finite logits, found ${best}. The model or its weights are damaged.`,
    );
  }
  const weights = ids.map((id) => Math.exp((logits[id] ?? 0) - best));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const drawn = random.uniform() * total;
  let sum = 0;
  for (const [rank, weight] of weights.entries()) {
    sum += weight;
    if (drawn < sum) return ids[rank] ?? 0;
  }
  return ids[0] ?? 0; // unreachable: drawn < total, and sum ends at total, added in the same order
}

/**
 * Ids of the k largest logits, best first, the lower id first among equals; all V when k exceeds V.
 *
 * @throws ModelError when a logit is NaN
 */
export function topK(logits: Float32Array, k: number): number[] {
  const ids: number[] = [];
  let bar = Number.NaN; // the k-th best so far; nothing is below NaN
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? Number.NaN;
    if (logit <= bar) continue; // nearly all of 50,257 end here
    if (Number.isNaN(logit)) {
      throw new ModelError(
        `sampling: expected numbers, found NaN as logit ${id}. The model or its weights are damaged.`,
      );
    }
    let low = 0;
    for (let high = ids.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((logits[ids[middle] ?? 0] ?? 0) >= logit) low = middle + 1;
      else high = middle;
    }
    ids.splice(low, 0, id);
    if (ids.length > k) ids.pop();
    if (ids.length === k) bar = logits[ids[k - 1] ?? 0] ?? Number.NaN;
  }
  return ids;
}
