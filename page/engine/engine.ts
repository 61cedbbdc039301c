/**
 * One model on one device, and the edits that are in it. It runs in the page's worker, and in Node, where the recorded
 * run is made: what it is given, it does not ask where from.
 */
import { applyEdits, keepWeights, withUpdate } from '../../src/edit/apply.ts';
import type { KeptWeights } from '../../src/edit/apply.ts';
import { sampleContexts } from '../../src/edit/contexts.ts';
import { covarianceSolver } from '../../src/edit/covariance-solver.ts';
import type { Covariance, CovarianceSolver } from '../../src/edit/covariance-solver.ts';
import { readEditFile } from '../../src/edit/edit-file.ts';
import { computeEdit } from '../../src/edit/edit.ts';
import type { Edit, Update } from '../../src/edit/edit.ts';
import { judgeSuccess } from '../../src/edit/guard.ts';
import { METHODS } from '../../src/edit/method.ts';
import { checkRecord, recordMetadata, recordTensors } from '../../src/edit/record.ts';
import type { EditRecord } from '../../src/edit/record.ts';
import { readRequest } from '../../src/edit/request.ts';
import { editRows } from '../../src/edit/rows.ts';
import type { EditRows } from '../../src/edit/rows.ts';
import { UsageError } from '../../src/errors.ts';
import { sealed } from '../../src/formats/checksum.ts';
import { safetensorsBytes } from '../../src/formats/safetensors.ts';
import { sha256 } from '../../src/formats/source.ts';
import type { ByteSource } from '../../src/formats/source.ts';
import type { Model } from '../../src/models/model.ts';
import { predict } from '../../src/models/predict.ts';
import type { Prediction } from '../../src/models/predict.ts';
import { changeBlocks, flowBetween, statesOf, weightBlocks } from './pictures.ts';
import type { Applied, Asked, EditEvent, EditReport, Matrix, Outcome, TokenStrip, Wish } from './protocol.ts';

/** Tokens of a list. */
const LISTED = 10;
export const SEED = 0;

export interface EngineParts {
  readonly model: Model;
  readonly covariance: Covariance;
  readonly layer: number;
  readonly clamp: number;
  /** Written into edit files. */
  readonly versions: Readonly<Record<string, string>>;
}

/** An edit with what it was computed from, for pictures that are asked for later. */
export interface Computed {
  readonly edit: Edit;
  readonly rows: EditRows;
}

export class Engine {
  readonly model: Model;
  readonly layer: number;
  readonly parts: EngineParts;
  /** The last edit that was computed. */
  last: Computed | undefined;
  readonly #applied: { readonly id: string; readonly record: EditRecord }[] = [];
  #kept: KeptWeights;
  #contexts: Promise<readonly string[]> | undefined;
  #solver: Promise<CovarianceSolver> | undefined;

  constructor(parts: EngineParts) {
    this.parts = parts;
    this.model = parts.model;
    this.layer = parts.layer;
    this.#kept = keepWeights(this.model, [this.layer]);
  }

  /** C factored, once. */
  solver(): Promise<CovarianceSolver> {
    this.#solver ??= covarianceSolver(this.model.gpu, this.parts.covariance);
    return this.#solver;
  }

  /** Of the unedited model, as the command line samples them: so before the first edit is put in. */
  contexts(onStep?: (done: number, total: number) => void, signal?: AbortSignal): Promise<readonly string[]> {
    this.#contexts ??= sampleContexts(this.model, SEED, {
      ...(onStep ? { onStep } : {}),
      signal,
    }).catch((error: unknown) => {
      this.#contexts = undefined;
      throw error;
    });
    return this.#contexts;
  }

  async prepare(on: (event: EditEvent) => void, signal?: AbortSignal): Promise<void> {
    await this.contexts((done, total) => on({ kind: 'contexts', done, total }), signal);
    await this.solver();
  }

  predict(text: string, count = LISTED): Promise<Prediction> {
    return predict(this.model, text, { count });
  }

  /** Computes an edit on the weights as they are, and leaves them so. */
  async edit(wish: Wish, on: (event: EditEvent) => void, signal?: AbortSignal): Promise<EditReport & Kept> {
    const start = performance.now();
    const { model, layer } = this;
    const request = readRequest(wish);
    const contexts = await this.contexts((done, total) => on({ kind: 'contexts', done, total }), signal);
    const rows = editRows(model.tokenizer, request, contexts, model.dims);
    const strip = this.#strip(rows);
    on({ kind: 'tokens', strip });
    const ids = rows.rewrites[0]?.ids.slice(0, rows.rewrites[0].promptLength) ?? [];
    const probe = (): Promise<Prediction> =>
      predict(model, ids, { count: LISTED, continuation: rows.targetIds });
    const before = await probe();
    on({ kind: 'before', before });
    const watchedBefore = await this.#ask(wish.watched);
    const statesBefore = await statesOf(model, ids);
    const methods = [wish.method, ...METHODS.filter((method) => method !== wish.method)];
    const edit = await computeEdit(model, request, {
      methods,
      layer,
      contexts,
      solver: await this.solver(),
      clamp: this.parts.clamp,
      rows,
      signal,
      onPhase: (phase) => on({ kind: 'phase', phase }),
      onStep: (row, step) => on({ kind: 'step', row, step }),
    });
    this.last = { edit, rows };
    on({ kind: 'phase', phase: 'verify' });
    const outcomes: Outcome[] = [];
    let [asked, flow]: [Asked[], Matrix | undefined] = [[], undefined];
    for (const method of methods) {
      const update = edit.updates.get(method) as Update;
      await withUpdate(model, update, async () => {
        const after = await probe();
        outcomes.push(this.#outcome(update, before, after, rows.targetIds.length));
        if (method !== wish.method) return;
        const answers = await this.#ask(wish.watched);
        asked = wish.watched.map((prompt, i) => ({
          prompt,
          before: watchedBefore[i]?.next ?? [],
          after: answers[i]?.next ?? [],
        }));
        flow = flowBetween(statesBefore, await statesOf(model, ids), model.dims.D);
      });
    }
    const update = edit.updates.get(wish.method) as Update;
    const file = await this.#file(edit, update);
    const { vectors } = edit;
    return {
      request,
      method: wish.method,
      layer,
      strip,
      before,
      outcomes,
      asked,
      trace: edit.trace,
      vectors: {
        k: vectors.k_prompt,
        kMean: vectors.k_mean,
        v0: vectors.v_prompt,
        vMean: vectors.v_mean,
        delta: vectors.delta,
        vStar: vectors.v_star,
        u: update.U,
        lambda: update.Lambda,
      },
      flow: flow ?? { rows: 0, cols: 0, values: new Float32Array() },
      weight: await weightBlocks(model, layer),
      change: changeBlocks(update),
      solved: update.solved,
      contexts,
      stepTokens: edit.stepTokens,
      ms: performance.now() - start,
      id: await sha256(file),
      file,
    };
  }

  /** Puts the edit of a file into the model. @throws UsageError as `palimpsest apply` says it */
  async apply(source: ByteSource, bytes: () => Promise<Uint8Array<ArrayBuffer>>): Promise<Applied> {
    const { model } = this;
    const record = await readEditFile(source);
    checkRecord(record, source.name, model);
    const file = await bytes();
    const id = await sha256(file);
    const same = this.#applied.findIndex((edit) => edit.id === id);
    if (same >= 0)
      throw new UsageError(
        `apply ${source.name}: expected an edit that is not yet in the model, but it is number ${same + 1} (${id.slice(0, 8)}). Applying it twice would double it.`,
        'twice',
      );
    await this.contexts(); // before the weights change
    await applyEdits(model, [record]);
    this.#applied.push({ id, record });
    const { prompt, subject, target } = record.request;
    return { id, prompt, subject, target, method: record.method, file };
  }

  /** Takes an edit out: the weights are the base and what is left, computed anew, exact to the last bit. */
  async takeOut(id: string): Promise<void> {
    const at = this.#applied.findIndex((edit) => edit.id === id);
    if (at < 0) return;
    this.#applied.splice(at, 1);
    await this.restore();
  }

  /** The base and the edits of the list. */
  async restore(): Promise<void> {
    this.base();
    await applyEdits(
      this.model,
      this.#applied.map(({ record }) => record),
    );
  }

  /** The weights as they were loaded; `restore` puts the edits back. */
  base(): void {
    this.#kept.revert();
    this.#kept = keepWeights(this.model, [this.layer]);
  }

  #strip(rows: EditRows): TokenStrip {
    const { tokenizer } = this.model;
    const [bare] = rows.rewrites;
    const ids = bare?.ids.slice(0, bare.promptLength) ?? [];
    return {
      tokens: ids.map((id) => tokenizer.token(id)),
      lookup: bare?.lookup ?? 0,
      targetTokens: rows.targetIds.map((id) => tokenizer.token(id)),
      warnings: rows.warnings.map(({ message }) => message),
    };
  }

  async #ask(prompts: readonly string[]): Promise<Prediction[]> {
    const answers: Prediction[] = [];
    for (const prompt of prompts) answers.push(await predict(this.model, prompt, { count: 3 }));
    return answers;
  }

  #outcome(update: Update, before: Prediction, after: Prediction, tokens: number): Outcome {
    const success = judgeSuccess({ target: before }, { target: after }, tokens);
    const { U: _, Lambda: __, layer: ___, rank: ____, solved: _____, ...numbers } = update;
    return { ...numbers, success, after };
  }

  async #file(edit: Edit, update: Update): Promise<Uint8Array<ArrayBuffer>> {
    const tensors = recordTensors(update);
    const about = recordMetadata(this.model, edit, update, {
      seed: SEED,
      covariance: (await this.solver()).key,
      earlier: this.#applied.map(({ id }) => id),
      versions: this.parts.versions,
    });
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of safetensorsBytes('edit', tensors, await sealed(about, tensors)))
      pieces.push(piece as Uint8Array<ArrayBuffer>);
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }
}

interface Kept {
  readonly file: Uint8Array<ArrayBuffer>;
}
