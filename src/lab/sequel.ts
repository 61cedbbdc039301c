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
import { keepWeights, type KeptWeights } from '../edit/apply.ts';
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
export interface SequelLine {
  /** undefined: the unedited model, asked about the most facts. */
  readonly method?: Method | MassMethod | undefined;
  readonly way?: Part['way'] | undefined;
  readonly anchored: boolean;
  readonly facts: number;
  /** How many of them were asked, and in percent what came of it. */
  readonly judged: number;
  readonly ES?: number | undefined;
  readonly PS?: number | undefined;
  readonly NS?: number | undefined;
  readonly S?: number | undefined;
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
export async function runSequel(model: Model, input: SequelInput, plan: SequelPlan): Promise<SequelLine[]> {
  const study = new Sequel(model, input, plan);
  await study.run();
  return study.lines;
}

class Sequel {
  readonly lines: SequelLine[];
  readonly #model: Model;
  readonly #input: SequelInput;
  readonly #plan: SequelPlan;
  readonly #facts: readonly Fact[];
  /** z of all facts on the unedited model, [n, D], and the seconds that one takes. */
  readonly #values = { z: new Float32Array(), seconds: 0 };
  readonly #work = { all: 0, done: 0, begun: 0 };

  constructor(model: Model, input: SequelInput, plan: SequelPlan) {
    this.#model = model;
    this.#input = input;
    this.#plan = plan;
    this.#facts = input.facts.slice(0, Math.max(...plan.sizes));
    this.lines = [...input.results.lines];
  }

  async run(): Promise<void> {
    const parts = partsOf(this.#plan, this.#input.writings);
    const [first] = this.#input.writings.filter(isMass);
    const n = this.#facts.length;
    this.#work.all =
      workOfAsking(this.#plan, [n]) +
      (first ? n * WORK.values : 0) +
      parts.reduce((sum, part) => sum + workOf(this.#plan, part), 0);
    const isAsked = this.#has({ anchored: false, facts: n });
    if (!isAsked) await this.#judge({ anchored: false }, n);
    this.#note('unedited', [n, n], workOfAsking(this.#plan, [n]), isAsked);
    if (first) await this.#findValues(first);
    for (const part of parts) {
      if (part.sizes.every((facts) => this.#has({ ...part, method: part.writing.method, facts })))
        this.#note(nameOf(part), [n, n], workOf(this.#plan, part), true);
      else await this.#write(part);
    }
  }

  /** @param isOld it was done before this run, so nothing is to be learnt of how long it takes */
  #note(step: string, [done, total]: readonly [number, number], work: number, isOld = false): void {
    this.#work.done += work;
    if (isOld) this.#work.begun += work;
    const { all, done: sum, begun } = this.#work;
    this.#input.onProgress?.({ step, done, total, share: sum / all, begun: begun / all });
  }

  #has(wanted: Pick<SequelLine, 'method' | 'way' | 'anchored' | 'facts'>): boolean {
    return this.lines.some(
      (line) =>
        line.method === wanted.method &&
        line.way === wanted.way &&
        line.anchored === wanted.anchored &&
        line.facts === wanted.facts,
    );
  }

  /** Searched for once, whatever the method. */
  async #findValues(writing: Mass): Promise<void> {
    const { journalOf, signal } = this.#input;
    const { batch } = this.#plan;
    const journal = await journalOf<{ readonly facts: number; readonly seconds: number }>('values');
    const { D } = this.#model.dims;
    const n = this.#facts.length;
    const z = new Float32Array(n * D);
    let done = 0;
    for await (const [some] of journal.vectors()) {
      if (!some) continue;
      z.set(some.subarray(0, z.length - done * D), done * D);
      done = Math.min(n, done + some.length / D);
    }
    this.#note('values', [done, n], done * WORK.values, true);
    const searched = [...journal.lines];
    while (done < n) {
      signal?.throwIfAborted();
      const start = performance.now();
      const some = this.#facts.slice(done, (Math.floor(done / batch) + 1) * batch);
      const found = await findValues(this.#model, rowsOf(this.#model, some, writing), { ...writing, signal });
      const line = { facts: some.length, seconds: (performance.now() - start) / 1000 };
      await journal.append(line, [found]);
      searched.push(line);
      z.set(found, done * D);
      done += some.length;
      this.#note('values', [done, n], some.length * WORK.values);
    }
    const sum = (of: 'facts' | 'seconds'): number => searched.reduce((total, line) => total + line[of], 0);
    Object.assign(this.#values, { z, seconds: sum('seconds') / sum('facts') });
  }

  /** z [facts, D] of the first facts as this part writes them. */
  #firstZ({ anchored }: Part, facts: number): Float32Array<ArrayBuffer> {
    const { D } = this.#model.dims;
    const { z: all } = this.#values;
    const z = all.slice(0, facts * D);
    return anchored ? scaled(z, D, anchorOf(all, D, this.#plan.calibrated)) : z;
  }

  /** Fact after fact, batch after batch, or all at once; judged at each size on the way. */
  async #write(part: Part): Promise<void> {
    const { writing: plain, way, anchored, sizes } = part;
    const { method } = plain;
    const { signal, journalOf } = this.#input;
    const most = Math.max(...sizes);
    const isOne = way === 'one batch';
    const size = isOne ? most : isMass(plain) ? this.#plan.batch : 1;
    const name = `${method}-${way.replaceAll(' ', '-')}${anchored ? '-anchored' : ''}`;
    // With its values there, one batch is written again sooner than read.
    const journal = isOne ? memoryJournal<unknown, BatchLine>() : await journalOf<BatchLine>(name);
    const writing = anchored ? await this.#anchoredWriting(plain) : plain;
    const firstZ = isMass(plain) ? this.#firstZ(part, size) : undefined;
    const there = journal.lines.length;
    const total = Math.max(...(isOne ? this.#plan.sizes : sizes));
    const kept = keepWeights(this.#model, isMass(writing) ? writing.layers : [writing.edit.layer]);
    let [facts, seconds] = [0, 0];
    const onBatch = async (line: BatchLine): Promise<void> => {
      const n = line.case_ids.length;
      // Values that were there are counted as if this batch had searched for them.
      if (facts === 0 && firstZ) seconds += this.#values.seconds * n;
      facts += n;
      seconds += line.seconds;
      const found = { method, way, anchored, facts };
      const isSize = sizes.includes(facts);
      const isDue = isSize && !this.#has(found);
      if (isDue)
        await this.#judge({ ...found, seconds: seconds / facts, moved: await this.#moved(kept) }, facts);
      const work = n * WORK[way] + (isSize ? workOfAsking(this.#plan, [facts]) : 0);
      this.#note(nameOf(part), [facts, total], work, line.batch <= there && !isDue);
    };
    try {
      const options = { writing, size, firstZ, onBatch, signal };
      await writeBatches(this.#model, this.#facts.slice(0, most), options, journal);
    } finally {
      kept.revert();
    }
  }

  /** The writing with values as long as those of the unedited model are on average. */
  async #anchoredWriting(writing: Writing): Promise<Writing> {
    const some = this.#facts.slice(0, this.#plan.calibrated);
    if (isMass(writing))
      return anchoredAt(writing, anchorOf(this.#values.z, this.#model.dims.D, some.length));
    return anchoredAt(writing, await measureAnchor(this.#model, writing, some.map(requestOf)));
  }

  async #moved({ before }: KeptWeights): Promise<number> {
    const moves = await movesOf(this.#model, before);
    return norm(moves.map(({ moved }) => moved)) / norm(moves.map(({ size }) => size));
  }

  /** Asks the model, as it is, about the first facts, and keeps the line. */
  async #judge(
    line: Pick<SequelLine, 'method' | 'way' | 'anchored' | 'seconds' | 'moved'>,
    facts: number,
  ): Promise<void> {
    const asked = spread(this.#facts.slice(0, facts), this.#plan.judged ?? facts);
    const scores = await scoreFacts(this.#model, asked);
    const { ES, PS, NS, S } = averages(scores.map((score) => caseMetrics(score)));
    const found = { ...line, facts, judged: asked.length, ES, PS, NS, S };
    const whole = { ...found, perplexity: await perplexity(this.#model, this.#input.documents) };
    await this.#input.results.append(whole);
    this.lines.push(whole);
  }
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
