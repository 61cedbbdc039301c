/**
 * The sequel of the paper's study: the same facts, more and more of them, by r-ROME one after another and by MEMIT, EMMET,
 * ENCORE and AlphaEdit, all in one batch or batch after batch, with and without norm anchoring; all of them judged at the end.
 *
 * Every step of it is kept where the host says, so that a study that was stopped goes on. What one batch shares with another
 * is computed once: the values z of facts on the unedited model are the same whatever method writes them, and however many.
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
import type { MassMethod, Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import { norm } from '../statistics.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { requestOf } from './evaluate.ts';
import { anchorOf, anchoredAt, contextsOf, measureAnchor, writeBatches } from './fact-batches.ts';
import type { BatchLine, RunJournal, Writing } from './fact-batches.ts';
import { perplexity, spread } from './health.ts';
import { averages, caseMetrics } from './metrics.ts';
import { scoreFacts } from './probes.ts';

/** How much of everything. */
export interface SequelPlan {
  /** Numbers of facts, ascending. */
  readonly sizes: readonly number[];
  /** Facts of a batch where they come batch after batch. */
  readonly batch: number;
  /** Facts that are judged at most, evenly spread over those that were written. */
  readonly judged: number;
  /** Facts whose values on the unedited model give the length of norm anchoring. */
  readonly calibrated: number;
}

export const SEQUEL_PLAN: SequelPlan = {
  sizes: [1, 10, 100, 1000],
  batch: 100,
  judged: 200,
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
  readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Facts whose values are searched for between two lines of the journal. */
const CHUNK = 50;

/** All lines, those that were there too. The model is as it was, bit for bit. */
export async function runSequel(model: Model, input: SequelInput, plan: SequelPlan): Promise<SequelLine[]> {
  const study = new Sequel(model, input, plan);
  await study.run();
  return study.lines;
}

type Mass = Extract<Writing, { kind: 'mass' }>;

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

  constructor(model: Model, input: SequelInput, plan: SequelPlan) {
    this.#model = model;
    this.#input = input;
    this.#plan = plan;
    this.#facts = input.facts.slice(0, Math.max(...plan.sizes));
    this.lines = [...input.results.lines];
  }

  /** Unanchored first, and what is quick before what is slow, so that a study that is stopped has told most. */
  async run(): Promise<void> {
    const { writings } = this.#input;
    if (!this.#has({ anchored: false, facts: this.#facts.length }))
      await this.#judge({ anchored: false }, this.#facts.length);
    const mass = writings.filter((writing): writing is Mass => writing.kind === 'mass');
    const [first] = mass;
    const values = first && (await this.#values(first));
    for (const anchored of [false, true]) {
      if (values) for (const writing of mass) await this.#oneBatch(writing, anchored, values);
      for (const writing of writings) await this.#sequence(writing, anchored);
    }
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

  /** Searched for once. */
  #values(writing: Mass): Promise<Values> {
    this.#found ??= this.#findValues(writing);
    return this.#found;
  }

  async #findValues(writing: Mass): Promise<Values> {
    const { journalOf, onProgress, signal } = this.#input;
    const journal = await journalOf<ValuesLine>('values');
    const { D } = this.#model.dims;
    const all = new Float32Array(this.#facts.length * D);
    let [done, seconds] = [0, 0];
    for await (const [z] of journal.vectors()) {
      if (!z) continue;
      all.set(z.subarray(0, all.length - done * D), done * D);
      done += z.length / D;
    }
    for (const line of journal.lines) seconds += line.seconds;
    while (done < this.#facts.length) {
      signal?.throwIfAborted();
      const start = performance.now();
      const some = this.#rows(writing, this.#facts.slice(done, done + CHUNK));
      const z = await findValues(this.#model, some, { ...writing, signal });
      const line = { facts: some.length, seconds: (performance.now() - start) / 1000 };
      await journal.append(line, [z]);
      all.set(z, done * D);
      done += some.length;
      seconds += line.seconds;
      onProgress?.('values', done, this.#facts.length);
    }
    return { z: all, seconds: seconds / this.#facts.length };
  }

  #rows(writing: Mass, facts: readonly Fact[]): EditRows[] {
    const { tokenizer, dims } = this.#model;
    return facts.map((fact) => editRows(tokenizer, requestOf(fact), contextsOf(writing), dims.context));
  }

  /** All facts of each size at once. */
  async #oneBatch(writing: Mass, anchored: boolean, values: Values): Promise<void> {
    const { method, layers } = writing;
    const { D } = this.#model.dims;
    for (const facts of this.#plan.sizes) {
      const line = { method, way: 'one batch', anchored, facts } as const;
      if (this.#has(line)) continue;
      const part = values.z.slice(0, facts * D);
      const z = anchored ? scaled(part, D, anchorOf(values.z, D, this.#plan.calibrated)) : part;
      await this.#unedited(layers, async (kept) => {
        const start = performance.now();
        const rows = this.#rows(writing, this.#facts.slice(0, facts));
        await writeFacts(this.#model, rows, { ...writing, z, signal: this.#input.signal });
        const seconds = (performance.now() - start) / 1000 / facts + values.seconds;
        await this.#judge({ ...line, seconds, moved: await this.#moved(kept) }, facts);
      });
    }
  }

  /** Fact after fact, or batch after batch, judged at each size on the way. */
  async #sequence(plain: Writing, anchored: boolean): Promise<void> {
    const { method } = plain;
    const way: Way = plain.kind === 'single' ? 'one by one' : 'batches';
    const size = plain.kind === 'single' ? 1 : this.#plan.batch;
    // A batch of all is what one batch shows.
    const sizes = this.#plan.sizes.filter((facts) => size === 1 || (facts > size && facts % size === 0));
    if (sizes.every((facts) => this.#has({ method, way, anchored, facts }))) return;
    const journal = await this.#input.journalOf<BatchLine>(
      `${method}-${way.replaceAll(' ', '-')}${anchored ? '-anchored' : ''}`,
    );
    const writing = anchored ? await this.#anchoredWriting(plain) : plain;
    const layers = writing.kind === 'mass' ? writing.layers : [writing.edit.layer];
    await this.#unedited(layers, async (kept) => {
      let [facts, seconds] = [0, 0];
      const onBatch = async (line: BatchLine): Promise<void> => {
        facts += line.case_ids.length;
        seconds += line.seconds;
        this.#input.onProgress?.(
          `${method}, ${way}${anchored ? ', anchored' : ''}`,
          facts,
          sizes.at(-1) ?? facts,
        );
        const found = { method, way, anchored, facts };
        if (!sizes.includes(facts) || this.#has(found)) return;
        await this.#judge({ ...found, seconds: seconds / facts, moved: await this.#moved(kept) }, facts);
      };
      const { signal } = this.#input;
      await writeBatches(
        this.#model,
        this.#facts.slice(0, sizes.at(-1)),
        { writing, size, onBatch, signal },
        journal,
      );
    });
  }

  /** The writing with values as long as those of the unedited model are on average. */
  async #anchoredWriting(writing: Writing): Promise<Writing> {
    const { D } = this.#model.dims;
    const some = this.#facts.slice(0, this.#plan.calibrated);
    if (writing.kind === 'mass') {
      const { z } = await this.#values(writing);
      return anchoredAt(writing, anchorOf(z, D, some.length));
    }
    return anchoredAt(writing, await measureAnchor(this.#model, writing, some));
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
    const asked = spread(this.#facts.slice(0, facts), this.#plan.judged);
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
