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
import type { KeptWeights } from '../edit/apply.ts';
import { frobenius, frobeniusDifference } from '../edit/frobenius.ts';
import { findValues, writeFacts } from '../edit/mass.ts';
import { editRows } from '../edit/rows.ts';
import type { EditRows } from '../edit/rows.ts';
import { METHOD_TABLE } from '../edit/method.ts';
import type { MassMethod, Method } from '../edit/method.ts';
import { anchorOf, anchoredAt, contextsOf, measureAnchor } from '../edit/writing.ts';
import type { Writing } from '../edit/writing.ts';
import type { Model } from '../models/model.ts';
import { norm } from '../statistics.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { requestOf } from './evaluate.ts';
import { writeBatches } from './fact-batches.ts';
import type { BatchLine, RunJournal } from './fact-batches.ts';
import { perplexity, spread } from './health.ts';
import { averages, caseMetrics } from './metrics.ts';
import { scoreFacts } from './probes.ts';

/** How much of everything. */
export interface SequelPlan {
  /** Numbers of facts, ascending. */
  readonly sizes: readonly number[];
  /** Facts of a batch where they come batch after batch. */
  readonly batch: number;
  /** Facts that are judged at most, evenly spread over those that were written; all where it is not said. */
  readonly judged?: number | undefined;
  /** The most facts that are written one by one or batch after batch with norm anchoring, too: these take most time. */
  readonly anchored: number;
  /** Facts whose values on the unedited model give the length of norm anchoring. */
  readonly calibrated: number;
}

export const SEQUEL_PLAN: SequelPlan = {
  sizes: [1, 10, 100, 1000],
  batch: 100,
  anchored: 100,
  calibrated: 100,
};

export type Way = 'one by one' | 'one batch' | 'batches';

/** The model after so many facts. */
export interface SequelLine {
  /** undefined: the unedited model, asked about the most facts. */
  readonly method?: Method | MassMethod | undefined;
  readonly way?: Way | undefined;
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

/** A part of the values of the unedited model. */
export interface ValuesLine {
  readonly facts: number;
  readonly seconds: number;
}

export interface SequelInput {
  readonly facts: readonly Fact[];
  /** Ids of the documents whose perplexity is followed. */
  readonly documents: readonly (readonly number[])[];
  /** How each method writes; values of single edits are anchored by `anchorNorm`. */
  readonly writings: readonly Writing[];
  readonly results: Pick<RunJournal<unknown, SequelLine>, 'lines' | 'append'>;
  /** A journal for a part of the study, under a name. */
  readonly journalOf: <Line>(
    name: string,
  ) => Promise<Pick<RunJournal<unknown, Line>, 'lines' | 'vectors' | 'append'>>;
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

/**
 * About how long a fact takes, in searches of a value among many (0.6 s on two cores): by it the time left is estimated. A
 * single edit searches alone; a batch whose values are there writes in no time.
 */
const WORK = { values: 1, batches: 1, 'one by one': 1.6, 'one batch': 0.01, judge: 0.05 } as const;

/** All lines, those that were there too. The model is as it was, bit for bit. */
export async function runSequel(model: Model, input: SequelInput, plan: SequelPlan): Promise<SequelLine[]> {
  const study = new Sequel(model, input, plan);
  await study.run();
  return study.lines;
}

type Mass = Extract<Writing, { kind: 'mass' }>;

/** A method in one of its ways, and the numbers of facts after which the model is asked. */
interface Part {
  readonly writing: Writing;
  readonly way: Way;
  readonly anchored: boolean;
  readonly sizes: readonly number[];
}

/** z of all facts on the unedited model, [n, D], and the seconds that one takes. */
interface Values {
  readonly z: Float32Array<ArrayBuffer>;
  readonly seconds: number;
}

class Sequel {
  readonly lines: SequelLine[];
  readonly #model: Model;
  readonly #input: SequelInput;
  readonly #plan: SequelPlan;
  readonly #facts: readonly Fact[];
  #found: Promise<Values> | undefined;
  readonly #work = { all: 0, done: 0, begun: 0 };

  constructor(model: Model, input: SequelInput, plan: SequelPlan) {
    this.#model = model;
    this.#input = input;
    this.#plan = plan;
    this.#facts = input.facts.slice(0, Math.max(...plan.sizes));
    this.lines = [...input.results.lines];
  }

  async run(): Promise<void> {
    const parts = this.#parts();
    const [first] = this.#input.writings.filter(isMass);
    const n = this.#facts.length;
    this.#work.all =
      this.#asking([n]) +
      (first ? n * WORK.values : 0) +
      parts.reduce((sum, part) => sum + this.#cost(part), 0);
    const isAsked = this.#has({ anchored: false, facts: n });
    if (!isAsked) await this.#judge({ anchored: false }, n);
    this.#note('unedited', [n, n], this.#asking([n]), isAsked);
    if (first) await this.#values(first);
    for (const part of parts) {
      if (part.sizes.every((facts) => this.#has({ ...part, method: part.writing.method, facts })))
        this.#note(nameOf(part), [n, n], this.#cost(part), true);
      else if (part.way === 'one batch') await this.#oneBatch(part);
      else await this.#sequence(part);
    }
  }

  /** Unanchored first, and what is quick before what is slow, so that a study that is stopped has told most. */
  #parts(): Part[] {
    const { sizes, batch, anchored: most } = this.#plan;
    // A batch of all is what one batch shows.
    const several = sizes.filter((facts) => facts > batch && facts % batch === 0);
    const { writings } = this.#input;
    const mass = writings.filter(isMass);
    const single = writings.filter((writing) => !isMass(writing));
    return [false, true].flatMap((anchored) => {
      const upTo = (list: readonly number[]) => list.filter((facts) => !anchored || facts <= most);
      return [
        ...mass.map((writing): Part => ({ writing, way: 'one batch', anchored, sizes })),
        ...single.map((writing): Part => ({ writing, way: 'one by one', anchored, sizes: upTo(sizes) })),
        ...mass.map((writing): Part => ({ writing, way: 'batches', anchored, sizes: upTo(several) })),
      ];
    });
  }

  #asking(sizes: readonly number[]): number {
    const { judged = Infinity } = this.#plan;
    return sizes.reduce((sum, facts) => sum + Math.min(facts, judged), 0) * WORK.judge;
  }

  #cost({ way, sizes }: Part): number {
    const written =
      way === 'one batch' ? sizes.reduce((sum, facts) => sum + facts, 0) : Math.max(0, ...sizes);
    return written * WORK[way] + this.#asking(sizes);
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
  #values(writing: Mass): Promise<Values> {
    this.#found ??= this.#findValues(writing);
    return this.#found;
  }

  async #findValues(writing: Mass): Promise<Values> {
    const { journalOf, signal } = this.#input;
    const { batch } = this.#plan;
    const journal = await journalOf<ValuesLine>('values');
    const { D } = this.#model.dims;
    const n = this.#facts.length;
    const all = new Float32Array(n * D);
    let done = 0;
    for await (const [z] of journal.vectors()) {
      if (!z) continue;
      all.set(z.subarray(0, all.length - done * D), done * D);
      done = Math.min(n, done + z.length / D);
    }
    this.#note('values', [done, n], done * WORK.values, true);
    const searched = { facts: 0, seconds: 0 };
    const count = ({ facts, seconds }: ValuesLine): void => {
      searched.facts += facts;
      searched.seconds += seconds;
    };
    journal.lines.forEach(count);
    while (done < n) {
      signal?.throwIfAborted();
      const start = performance.now();
      const some = this.#rows(writing, this.#facts.slice(done, (Math.floor(done / batch) + 1) * batch));
      const z = await findValues(this.#model, some, { ...writing, signal });
      const line = { facts: some.length, seconds: (performance.now() - start) / 1000 };
      await journal.append(line, [z]);
      count(line);
      all.set(z, done * D);
      done += some.length;
      this.#note('values', [done, n], some.length * WORK.values);
    }
    return { z: all, seconds: searched.seconds / searched.facts };
  }

  #rows(writing: Mass, facts: readonly Fact[]): EditRows[] {
    const { tokenizer, dims } = this.#model;
    return facts.map((fact) => editRows(tokenizer, requestOf(fact), contextsOf(writing), dims.context));
  }

  /** z [facts, D] of the first facts as this part writes them, and the seconds that one took. */
  async #known({ writing, anchored }: Part, facts: number): Promise<Values | undefined> {
    if (!isMass(writing)) return undefined;
    const { D } = this.#model.dims;
    const { z: all, seconds } = await this.#values(writing);
    const z = all.slice(0, facts * D);
    return { z: anchored ? scaled(z, D, anchorOf(all, D, this.#plan.calibrated)) : z, seconds };
  }

  /** All facts of each size at once. */
  async #oneBatch(part: Part): Promise<void> {
    const { writing, way, anchored, sizes } = part;
    if (!isMass(writing)) return;
    const { method, layers } = writing;
    for (const facts of sizes) {
      const line = { method, way, anchored, facts };
      const isOld = this.#has(line);
      if (!isOld) {
        const { z, seconds } = (await this.#known(part, facts)) as Values;
        await this.#unedited(layers, async (kept) => {
          const start = performance.now();
          const rows = this.#rows(writing, this.#facts.slice(0, facts));
          await writeFacts(this.#model, rows, { ...writing, z, signal: this.#input.signal });
          const took = (performance.now() - start) / 1000 / facts + seconds;
          await this.#judge({ ...line, seconds: took, moved: await this.#moved(kept) }, facts);
        });
      }
      this.#note(nameOf(part), [facts, Math.max(...sizes)], this.#cost({ ...part, sizes: [facts] }), isOld);
    }
  }

  /** Fact after fact, or batch after batch, judged at each size on the way. */
  async #sequence(part: Part): Promise<void> {
    const { writing: plain, way, anchored, sizes } = part;
    const { method } = plain;
    const { signal } = this.#input;
    const size = isMass(plain) ? this.#plan.batch : 1;
    const most = Math.max(...sizes);
    const journal = await this.#input.journalOf<BatchLine>(
      `${method}-${way.replaceAll(' ', '-')}${anchored ? '-anchored' : ''}`,
    );
    const writing = anchored ? await this.#anchoredWriting(plain) : plain;
    const first = await this.#known(part, size);
    const layers = isMass(writing) ? writing.layers : [writing.edit.layer];
    const there = journal.lines.length;
    await this.#unedited(layers, async (kept) => {
      let [facts, seconds] = [0, 0];
      const onBatch = async (line: BatchLine): Promise<void> => {
        // Values that were there are counted as if this batch had searched for them.
        if (facts === 0 && first) seconds += first.seconds * line.case_ids.length;
        facts += line.case_ids.length;
        seconds += line.seconds;
        const found = { method, way, anchored, facts };
        const isDue = sizes.includes(facts) && !this.#has(found);
        if (isDue)
          await this.#judge({ ...found, seconds: seconds / facts, moved: await this.#moved(kept) }, facts);
        const work = line.case_ids.length * WORK[way] + (sizes.includes(facts) ? this.#asking([facts]) : 0);
        this.#note(nameOf(part), [facts, most], work, line.batch <= there && !isDue);
      };
      const options = { writing, size, firstZ: first?.z, onBatch, signal };
      await writeBatches(this.#model, this.#facts.slice(0, most), options, journal);
    });
  }

  /** The writing with values as long as those of the unedited model are on average. */
  async #anchoredWriting(writing: Writing): Promise<Writing> {
    const some = this.#facts.slice(0, this.#plan.calibrated);
    if (isMass(writing)) {
      const { z } = await this.#values(writing);
      return anchoredAt(writing, anchorOf(z, this.#model.dims.D, some.length));
    }
    return anchoredAt(writing, await measureAnchor(this.#model, writing, some.map(requestOf)));
  }

  async #unedited(layers: readonly number[], use: (kept: KeptWeights) => Promise<void>): Promise<void> {
    const kept = keepWeights(this.#model, layers);
    try {
      await use(kept);
    } finally {
      kept.revert();
    }
  }

  async #moved({ before }: KeptWeights): Promise<number> {
    const { gpu } = this.#model;
    const sums = { moved: 0, all: 0 };
    for (const [layer, w0] of before) {
      const w = this.#model.editedWeight(layer).tensor;
      sums.moved += (await frobeniusDifference(gpu, w, w0)) ** 2;
      sums.all += (await frobenius(gpu, w0 satisfies Tensor)) ** 2;
    }
    return Math.sqrt(sums.moved / sums.all);
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

function isMass(writing: Writing): writing is Mass {
  return writing.kind === 'mass';
}

function nameOf({ writing, way, anchored }: Part): string {
  return `${METHOD_TABLE[writing.method].title}, ${way}${anchored ? ', anchored' : ''}`;
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
