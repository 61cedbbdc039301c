/** Shards of one build brought together: S = Σ S_i, summed in float64, so that the order of the files does not matter. */
import { UsageError } from '../errors.ts';
import { type CovarianceFile, readMatrices } from '../formats/covariance-file.ts';
import type { CovarianceFacts, Shards } from '../formats/covariance-identity.ts';
import type { Matrices } from '../formats/checksum.ts';
import type { WriteOptions } from './atomic.ts';
import { type BuiltFile, openCovariance, writeCovariance } from './covariance-files.ts';

/**
 * Merges parts, some of which may be merged ones themselves.
 *
 * @param out where to; undefined: the cache
 * @returns also the shards that are still to come; with none, the file is the covariance of the whole corpus
 * @throws UsageError naming the files that do not go together: other model, layer or corpus, or the same shard twice
 * @throws ModelError when one is damaged
 */
export async function mergeCovariances(
  paths: readonly string[],
  out?: string,
  { signal }: WriteOptions = {},
): Promise<BuiltFile & { readonly missing: readonly number[] }> {
  const files: CovarianceFile[] = [];
  for (const path of paths) files.push(await openCovariance(path));
  const [first, ...rest] = files;
  if (!first) throw new UsageError('covariance merge: expected the files of all shards, got none.');
  for (const { name, facts } of files)
    if (!facts.shards)
      throw new UsageError(
        `covariance merge: expected parts written with --shard, but ${name} is the covariance of a whole corpus. Leave it out.`,
      );
  for (const other of rest) checkTogether(first, other);
  checkDisjoint(files);

  const facts = mergedFacts(first, files);
  const sums = await sumOf(files, signal);
  const matrices: Matrices = facts.shards ? split(sums) : { C: mean(sums, facts.tokens) };
  const built = await writeCovariance(facts, matrices, { out, signal });
  const have = facts.shards?.indices;
  const missing = have
    ? Array.from({ length: facts.shards.of }, (_, i) => i).filter((i) => !have.includes(i))
    : [];
  return { ...built, missing };
}

/** What shards of one build have in common, in words for messages. */
const COMMON = {
  weights: 'model',
  storage: 'storage of the weights',
  tokenizer: 'tokenizer',
  layer: 'layer',
  size: 'size',
  corpus: 'corpus',
  context: 'context length',
} as const;

function checkTogether(first: CovarianceFile, other: CovarianceFile): void {
  const differing = (Object.keys(COMMON) as (keyof typeof COMMON)[])
    .filter((field) => first.facts[field] !== other.facts[field])
    .map((field) => `${COMMON[field]} (${shown(first.facts, field)} and ${shown(other.facts, field)})`);
  const [a, b] = [first.facts, other.facts];
  if (a.shards?.of !== b.shards?.of) differing.push(`number of shards (${a.shards?.of} and ${b.shards?.of})`);
  if ((a.wanted === undefined) !== (b.wanted === undefined))
    differing.push('tokens asked for (a number, and all)');
  if (differing.length === 0) return;
  throw new UsageError(
    `covariance merge: expected shards of one build, but ${first.name} and ${other.name} differ in ${differing.join(', ')}. ` +
      'Merge only what was built with the same model, layer, corpus and --shard i/n.',
    'foreign_shard',
  );
}

function shown(facts: CovarianceFacts, field: keyof typeof COMMON): string {
  if (field === 'weights') return `${facts.model} ${facts.weights.slice(0, 12)}`;
  if (field === 'corpus') return `${facts.corpusName} ${facts.corpus.slice(0, 12)}`;
  return String(facts[field]).slice(0, 12);
}

function checkDisjoint(files: readonly CovarianceFile[]): void {
  const owner = new Map<number, string>();
  for (const { name, facts } of files) {
    for (const index of facts.shards?.indices ?? []) {
      const other = owner.get(index);
      if (other !== undefined)
        throw new UsageError(
          `covariance merge: expected each shard once, but shard ${index} is in ${other} and in ${name}. Its text would weigh double: leave one out.`,
          'foreign_shard',
        );
      owner.set(index, name);
    }
  }
}

function mergedFacts({ facts: first }: CovarianceFile, files: readonly CovarianceFile[]): CovarianceFacts {
  const sum = (count: (facts: CovarianceFacts) => number): number =>
    files.reduce((total, { facts }) => total + count(facts), 0);
  const indices = files.flatMap(({ facts }) => facts.shards?.indices ?? []).sort((a, b) => a - b);
  const of = first.shards?.of ?? 1;
  const shards: Shards | undefined = indices.length === of ? undefined : { indices, of };
  return {
    ...first,
    shards,
    wanted: first.wanted === undefined ? undefined : sum(({ wanted = 0 }) => wanted),
    tokens: sum(({ tokens }) => tokens),
    documents: sum(({ documents }) => documents),
    cut: sum(({ cut }) => cut),
    // Every shard reads the whole corpus, and so meets all of these.
    empty: Math.max(...files.map(({ facts }) => facts.empty)),
    invalid: Math.max(...files.map(({ facts }) => facts.invalid)),
  };
}

async function sumOf(files: readonly CovarianceFile[], signal?: AbortSignal): Promise<Float64Array> {
  let sums: Float64Array | undefined;
  // By shard, whatever the order on the command line: the same bits.
  const ordered = [...files].sort(
    (a, b) => (a.facts.shards?.indices[0] ?? 0) - (b.facts.shards?.indices[0] ?? 0),
  );
  for (const file of ordered) {
    signal?.throwIfAborted();
    const matrices = await readMatrices(file);
    const [high, low] = [matrices['S.high'] as Float32Array, matrices['S.low'] as Float32Array];
    sums ??= new Float64Array(high.length);
    for (let i = 0; i < high.length; i += 1)
      sums[i] = (sums[i] as number) + (high[i] as number) + (low[i] as number);
  }
  return sums as Float64Array;
}

// Neither by Float32Array.from: it makes a list of the numbers first, and C of GPT-J has more than a list may hold.

/** C = S / tokens. */
function mean(sums: Float64Array, tokens: number): Float32Array<ArrayBuffer> {
  const C = new Float32Array(sums.length);
  for (let i = 0; i < sums.length; i += 1) C[i] = (sums[i] as number) / tokens;
  return C;
}

/** A float64 as two floats, with what little of it they cannot hold left out. */
function split(sums: Float64Array): Matrices {
  const high = new Float32Array(sums);
  const low = new Float32Array(sums.length);
  for (let i = 0; i < sums.length; i += 1) low[i] = (sums[i] as number) - (high[i] as number);
  return { 'S.high': high, 'S.low': low };
}
