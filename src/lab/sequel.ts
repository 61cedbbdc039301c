/**
 * The sequel of the paper's study: the same facts, more and more of them, by r-ROME one after another and by MEMIT, EMMET,
 * ENCORE and AlphaEdit, all in one batch or batch after batch, with and without norm anchoring; all of them judged at the end.
 *
 * Every step of it is kept where the host says, so that a study that was stopped goes on. The values z of facts on the
 * unedited model do not know which method will write them, nor how many there will be, and anchoring gives them another
 * length after the search: so they are searched for once, a batch at a time, and serve one batch of any size and the first
 * of several. Later batches see other weights, and r-ROME sees others with every fact: these cannot be shared.
 *
 * Source: Gupta et al. 2024, arXiv 2401.07453 (what edits at scale forget) and 2405.00664 (batches in sequence).
 */
import type { Fact } from '../data/fact.ts';
import { keepWeights } from '../edit/apply.ts';
import { findValues } from '../edit/mass.ts';
import type { MassMethod, Method } from '../edit/method.ts';
import { anchorOf, anchoredAt, measureAnchor, type Writing } from '../edit/writing.ts';
import type { Model } from '../models/model.ts';
import { norm } from '../statistics.ts';
import { movesOf } from './batch-study.ts';
import { requestOf } from './evaluate.ts';
import { rowsOf, writeBatches } from './fact-batches.ts';
import { perplexity, spread } from './health.ts';
import { averages, caseMetrics } from './metrics.ts';
import { scoreFacts } from './probes.ts';
import { memoryJournal, type BatchLine, type RunJournal } from './run-journal.ts';
import { WORK, isMass, nameOf, partsOf, workOf, workOfAsking } from './sequel-plan.ts';
import type { Mass, Part, SequelPlan } from './sequel-plan.ts';

/** The model after so many facts. */
export interface SequelLine extends Readonly<Partial<Record<'ES' | 'PS' | 'NS' | 'S', number | undefined>>> {
  /** undefined: the unedited model, asked about the most facts. */
  readonly method?: Method | MassMethod | undefined;
  readonly way?: Part['way'] | undefined;
  readonly anchored: boolean;
  readonly facts: number;
  /** How many of them were asked, and in percent what came of it. */
  readonly judged: number;
  readonly perplexity?: number | undefined;
  /** A fact, everything that writing takes. */
  readonly seconds?: number | undefined;
  /** |W − W₀| / |W₀| of the layers that were written. */
  readonly moved?: number | undefined;
}

export interface SequelInput {
  readonly facts: readonly Fact[];
  /** Ids of the documents whose perplexity is followed. */
  readonly documents: readonly (readonly number[])[];
  /** How each method writes; values of single edits are anchored by `anchorNorm`. */
  readonly writings: readonly Writing[];
  readonly results: Pick<RunJournal<unknown, SequelLine>, 'lines' | 'append'>;
  /** A journal for a part of the study, under a name. */
  readonly journalOf: <Line>(name: string) => Promise<Omit<RunJournal<unknown, Line>, 'begin'>>;
  readonly onProgress?: ((progress: SequelProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Facts of a step, and of the whole study what is done now and was done before it, as shares of its work. */
export interface SequelProgress {
  readonly step: string;
  readonly done: number;
  readonly total: number;
  readonly share: number;
  readonly begun: number;
}

/** All lines, those that were there too. The model is as it was, bit for bit. */
export async function runSequel(model: Model, input: SequelInput, plan: SequelPlan) {
  const { writings, results, journalOf, signal } = input;
  const { D } = model.dims;
  const facts = input.facts.slice(0, Math.max(...plan.sizes));
  const n = facts.length;
  const { lines } = results;
  const parts = partsOf(plan, writings);
  const [first] = writings.filter(isMass);
  /** z of all facts on the unedited model, [n, D], and the seconds that one takes. */
  const values = { z: new Float32Array(), seconds: 0 };
  const work = { done: 0, begun: 0 };
  const all =
    workOfAsking(plan, [n]) +
    (first ? n * WORK.values : 0) +
    parts.reduce((sum, part) => sum + workOf(plan, part), 0);

  /** @param isOld it was done before this run, so nothing is to be learnt of how long it takes */
  const note = (step: string, [done, total]: readonly [number, number], own: number, isOld = false): void => {
    work.done += own;
    if (isOld) work.begun += own;
    input.onProgress?.({ step, done, total, share: work.done / all, begun: work.begun / all });
  };

  type Named = Pick<SequelLine, 'method' | 'way' | 'anchored' | 'facts'>;
  const nameIn = ({ method, way, anchored, facts: count }: Named): string =>
    [method, way, anchored, count].join();
  const has = (wanted: Named): boolean => lines.some((line) => nameIn(line) === nameIn(wanted));

  /** Asks the model, as it is, about the first facts, and keeps the line. */
  const judge = async (line: Named & Pick<SequelLine, 'seconds' | 'moved'>): Promise<void> => {
    const asked = spread(facts.slice(0, line.facts), plan.judged ?? line.facts);
    const scores = await scoreFacts(model, asked);
    const { ES, PS, NS, S } = averages(scores.map((score) => caseMetrics(score)));
    const found = { ...line, judged: asked.length, ES, PS, NS, S };
    await results.append({ ...found, perplexity: await perplexity(model, input.documents) });
  };

  /** Values are searched for once, whatever the method. */
  const searchValues = async (writing: Mass): Promise<void> => {
    const journal = await journalOf<{ readonly facts: number; readonly seconds: number }>('values');
    const z = new Float32Array(n * D);
    let done = 0;
    for await (const [some] of journal.vectors()) {
      if (!some) continue;
      z.set(some.subarray(0, z.length - done * D), done * D);
      done = Math.min(n, done + some.length / D);
    }
    note('values', [done, n], done * WORK.values, true);
    while (done < n) {
      signal?.throwIfAborted();
      const start = performance.now();
      const some = facts.slice(done, (Math.floor(done / plan.batch) + 1) * plan.batch);
      const found = await findValues(model, rowsOf(model, some, writing), { ...writing, signal });
      const seconds = (performance.now() - start) / 1000;
      await journal.append({ facts: some.length, seconds }, [found]);
      z.set(found, done * D);
      done += some.length;
      note('values', [done, n], some.length * WORK.values);
    }
    const sum = (of: 'facts' | 'seconds'): number =>
      journal.lines.reduce((total, line) => total + line[of], 0);
    Object.assign(values, { z, seconds: sum('seconds') / sum('facts') });
  };

  /** z [count, D] of the first facts, as a part writes them. */
  const firstValues = (count: number, anchored: boolean): Float32Array<ArrayBuffer> => {
    const z = values.z.slice(0, count * D);
    return anchored ? scaled(z, D, anchorOf(values.z, D, plan.calibrated)) : z;
  };

  /** The writing with values as long as those of the unedited model are on average. */
  const anchoredWriting = async (writing: Writing): Promise<Writing> => {
    const some = facts.slice(0, plan.calibrated);
    if (isMass(writing)) return anchoredAt(writing, anchorOf(values.z, D, some.length));
    return anchoredAt(writing, await measureAnchor(model, writing, some.map(requestOf)));
  };

  /** Fact after fact, batch after batch, or all at once; judged at each size on the way. */
  const write = async (part: Part): Promise<void> => {
    const { writing: plain, way, anchored, sizes } = part;
    const { method } = plain;
    const most = Math.max(...sizes);
    const isOne = way === 'one batch';
    const size = isOne ? most : isMass(plain) ? plan.batch : 1;
    const name = `${method}-${way.replaceAll(' ', '-')}${anchored ? '-anchored' : ''}`;
    // With its values there, one batch is written again sooner than read.
    const journal = isOne ? memoryJournal<unknown, BatchLine>() : await journalOf<BatchLine>(name);
    const writing = anchored ? await anchoredWriting(plain) : plain;
    const firstZ = isMass(plain) ? firstValues(size, anchored) : undefined;
    const there = journal.lines.length;
    const total = Math.max(...(isOne ? plan.sizes : sizes));
    const kept = keepWeights(model, isMass(writing) ? writing.layers : [writing.edit.layer]);
    let [count, seconds] = [0, 0];
    const onBatch = async (line: BatchLine): Promise<void> => {
      const own = line.case_ids.length;
      // Values that were there are counted as if this batch had searched for them.
      if (count === 0 && firstZ) seconds += values.seconds * own;
      count += own;
      seconds += line.seconds;
      const state = { method, way, anchored, facts: count };
      const isSize = sizes.includes(count);
      const isDue = isSize && !has(state);
      if (isDue) {
        const moves = await movesOf(model, kept.before);
        const moved = norm(moves.map((move) => move.moved)) / norm(moves.map((move) => move.size));
        await judge({ ...state, seconds: seconds / count, moved });
      }
      const step = own * WORK[way] + (isSize ? workOfAsking(plan, [count]) : 0);
      note(nameOf(part), [count, total], step, line.batch <= there && !isDue);
    };
    try {
      const options = { writing, size, firstZ, onBatch, signal };
      await writeBatches(model, facts.slice(0, most), options, journal);
    } finally {
      kept.revert();
    }
  };

  const unedited = { anchored: false, facts: n };
  const isAsked = has(unedited);
  if (!isAsked) await judge(unedited);
  note('unedited', [n, n], workOfAsking(plan, [n]), isAsked);
  if (first) await searchValues(first);
  for (const part of parts) {
    if (part.sizes.every((size) => has({ ...part, method: part.writing.method, facts: size })))
      note(nameOf(part), [n, n], workOf(plan, part), true);
    else await write(part);
  }
  return lines;
}

/** Every row [D] at a length. */
function scaled(rows: Float32Array<ArrayBuffer>, D: number, length: number): Float32Array<ArrayBuffer> {
  const made = rows.slice();
  for (let from = 0; from < rows.length; from += D) {
    const factor = length / norm(rows.subarray(from, from + D));
    for (let i = from; i < from + D; i += 1) made[i] = (rows[i] as number) * factor;
  }
  return made;
}
