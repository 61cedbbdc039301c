/** Cases of `evaluate` on a disk: in a folder, in the cache until the run is finished, or in shards that are merged. */
import { join } from 'node:path';
import process from 'node:process';
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { METHODS } from '../edit/method.ts';
import { ModelError, UsageError } from '../errors.ts';
import { CASE, type CaseResult } from '../lab/evaluate.ts';
import { RUN_HEAD, type Entries } from '../lab/run-journal.ts';
import { cacheFolder } from './cache.ts';
import { versions } from './file.ts';
import { hashOf, openRun, type JournalOptions, type OpenRun } from './run.ts';
import { parseShard, shareOf, type Shard } from './shard.ts';

type Cases = OpenRun<Entries<typeof RUN_HEAD>, CaseResult>;

export function openCases(folder: string, mode: JournalOptions['mode']): Promise<Cases> {
  // A measure that is no number must be none after a resume, too.
  return openRun(folder, { mode, head: v.looseObject(RUN_HEAD), line: CASE, nonFinite: 'object' });
}

/**
 * The cases of a run without a folder of its own, which an interrupted one goes on from: in the cache, by all that decides
 * its numbers, until the run is finished.
 */
export async function casesInCache(
  settings: Readonly<Record<string, unknown>>,
  facts: readonly Fact[],
  tell: { readonly note: (text: string) => void; readonly warn: (text: string) => void },
): Promise<{ journal?: Cases; place?: string }> {
  const place = join(cacheFolder(), 'evaluate', hashOf([settings, facts, versions()]));
  try {
    const journal = await openCases(place, 'resume').catch((error: unknown) => {
      if (!(error instanceof UsageError) || error.code !== 'damaged_run') throw error;
      tell.note(`palimpsest: ${place} is damaged and is begun anew.`);
      return openCases(place, 'overwrite');
    });
    return { journal, place };
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof ModelError)) throw error;
    tell.warn(
      `${error.message} This run goes on all the same, but what it finishes is not kept if it is stopped.`,
    );
    return {};
  }
}

/**
 * A part of the facts: the `facts` from `first` on.
 *
 * @throws UsageError for a shard without facts, or without a folder that keeps it
 */
export function factsShard(
  { shard: text, out }: { readonly shard?: string | undefined; readonly out?: string | undefined },
  all: readonly Fact[],
): (Shard & { readonly first: number; readonly facts: number }) | undefined {
  if (text === undefined) return undefined;
  const shard = parseShard(text, process.env);
  if (out === undefined)
    throw new UsageError(
      '--shard: expected --out with a folder that keeps its cases for the merge, found none.',
    );
  const counts = Array.from({ length: shard.of }, (_, index) => shareOf(all.length, { ...shard, index }));
  const facts = counts[shard.index] ?? 0;
  if (facts === 0)
    throw new UsageError(
      `--shard ${shard.index}/${shard.of}: expected a fact for every shard, there are only ${all.length}. Take fewer shards.`,
    );
  return { ...shard, first: counts.slice(0, shard.index).reduce((sum, n) => sum + n, 0), facts };
}

const SHARD_SETTINGS = v.looseObject({
  methods: v.array(v.picklist(METHODS)),
  measure: v.boolean(),
  seed: v.number(),
  model: v.looseObject({ id: v.string(), sha256: v.string() }),
  shard: v.looseObject({
    index: v.number(),
    of: v.number(),
    facts: v.number(),
    missing: v.array(v.string()),
  }),
});

type ShardSettings = v.InferOutput<typeof SHARD_SETTINGS>;

/**
 * The cases of all shards, in their order; and why measures are missing, where no shard has them.
 *
 * @throws UsageError for a folder that is no whole shard, a shard of another evaluation, or one that is missing
 */
export async function readShards(
  folders: readonly string[],
): Promise<{ cases: CaseResult[]; missing: string[]; settings: ShardSettings }> {
  const parts: { settings: ShardSettings; cases: readonly CaseResult[] }[] = [];
  for (const folder of folders) {
    const journal = await openCases(folder, 'read');
    await journal.close();
    const { success, output: settings } = v.safeParse(SHARD_SETTINGS, journal.head?.settings);
    const fault = (what: string): UsageError =>
      new UsageError(`evaluate merge ${folder}: ${what}.`, 'bad_shard');
    if (!success) throw fault('expected the folder that evaluate --shard i/n --out wrote, found none');
    const { shard } = settings;
    if (journal.lines.length !== shard.facts)
      throw fault(
        `expected ${shard.facts} cases of shard ${shard.index}/${shard.of}, found ${journal.lines.length}: go on with it by --resume`,
      );
    const [first] = parts;
    if (first && (restOf(first.settings) !== restOf(settings) || first.settings.shard.of !== shard.of))
      throw fault(`expected a shard of the same evaluation as ${folders[0]}, its settings are others`);
    if (parts.some((part) => part.settings.shard.index === shard.index))
      throw fault(`expected every shard once, shard ${shard.index}/${shard.of} is there twice`);
    parts.push({ settings, cases: journal.lines });
  }
  const [first] = parts;
  if (!first) throw new UsageError('evaluate merge: expected the folders of shards, found none.');
  const { of, missing: reasons } = first.settings.shard;
  parts.sort((a, b) => a.settings.shard.index - b.settings.shard.index);
  const there = parts.map(({ settings }) => settings.shard);
  const gone = Array.from({ length: of }, (_, i) => i).filter((i) => !there.some(({ index }) => index === i));
  if (gone.length > 0)
    throw new UsageError(
      `evaluate merge: expected all ${of} shards, ${gone.join(', ')} of 0 to ${of - 1} ${gone.length === 1 ? 'is' : 'are'} missing.`,
      'bad_shard',
    );
  const missing = reasons.filter((reason) => there.every((shard) => shard.missing.includes(reason)));
  return { cases: parts.flatMap(({ cases }) => cases), missing, settings: first.settings };
}

/** All settings but the shard, to compare. */
function restOf({ shard: _, ...rest }: ShardSettings): string {
  return JSON.stringify(rest);
}
