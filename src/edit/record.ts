/**
 * The edit file: u and Λ of one edit with all it takes to replay it, about 8 kB for the bundled model.
 *
 * safetensors, f32 `u` [F] and `lambda` [D], or [F, r] and [r, D] of a rank r above 1; everything else stands in
 * `__metadata__` as text. Reading and writing bytes is the host's part: here a record becomes tensors and strings, and
 * back, checked.
 */
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { isSealed } from '../formats/checksum.ts';
import { jsonIfAny } from '../json.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import type { Architecture } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import type { Edit, Update } from './edit.ts';
import { judge } from './guard.ts';
import type { Thresholds, Verdict } from './guard.ts';
import { METHODS } from './method.ts';
import type { Method } from './method.ts';
import type { EditRequest } from './request.ts';
import type { LowRankUpdate } from './update.ts';

/** Its metadata hold a checksum. */
export const RECORD_SCHEMA = 'palimpsest.edit/2';
/** Written by version 0.1.0, without one. */
const OLD_SCHEMA = 'palimpsest.edit/1';

export interface EditRecord extends LowRankUpdate {
  readonly model: { readonly id: string; readonly sha256: string };
  /** The Hugging Face name of W. */
  readonly tensor: string;
  readonly method: Method;
  readonly request: EditRequest & { readonly targetIds: readonly number[] };
  /** Its checksum was there and right; false for a file of version 0.1.0, which has none. */
  readonly verified: boolean;
  /** Everything as text, as it stands in the file. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** What the edit itself does not know. */
export interface Circumstances {
  /** Seed that the contexts were sampled with; undefined when they were handed in. */
  readonly seed: number | undefined;
  /** As `Solver.key`. */
  readonly covariance: string;
  /** Ids of the edits that were in the model already, in order. */
  readonly earlier: readonly string[];
  /** Of palimpsest and what it runs on. */
  readonly versions: Readonly<Record<string, string>>;
}

/** What a host hands in: an opened safetensors file. */
export interface RecordFile {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  names(): string[];
  info(name: string): { readonly dtype: string; readonly shape: readonly number[] };
  readFloats(name: string): Promise<Float32Array<ArrayBuffer>>;
}

/** The tensors of an edit file: vectors for one pair, matrices for more. */
export function recordTensors({ U, Lambda, rank }: LowRankUpdate): TensorToWrite[] {
  const [F, D] = [U.length / rank, Lambda.length / rank];
  return [
    { name: 'u', dtype: 'F32', shape: rank === 1 ? [F] : [F, rank], data: bytesOf(U) },
    { name: 'lambda', dtype: 'F32', shape: rank === 1 ? [D] : [rank, D], data: bytesOf(Lambda) },
  ];
}

/** The numbers of an update as files and `--json` name them. */
export interface UpdateNumbers {
  readonly divisor: number;
  readonly cosine: number;
  readonly lambda_norm: number;
  readonly update_norm: number;
  readonly normalised_update: number;
  readonly relative_update: number;
  readonly verdict: Verdict;
}

/** @param thresholds of the verdict, where they are not the usual ones */
export function updateNumbers(update: Update, thresholds?: Thresholds): UpdateNumbers {
  return {
    divisor: update.divisor,
    cosine: update.cosine,
    lambda_norm: update.lambdaNorm,
    update_norm: update.updateNorm,
    normalised_update: update.normalisedUpdate,
    relative_update: update.relativeUpdate,
    verdict: thresholds ? judge(update.cosine, update.relativeUpdate, thresholds) : update.verdict,
  };
}

/** What the file's `__metadata__` says of an edit; whoever writes it lets `sealed` add the checksum. */
export function recordMetadata(
  model: Model,
  edit: Edit,
  update: Update,
  { seed, covariance, earlier, versions }: Circumstances,
): Record<string, string> {
  const { prompt, subject, target } = edit.request;
  const trace = edit.trace.map(({ loss, nll, kl, decay, probability }) => ({
    loss,
    nll,
    kl,
    decay,
    probability,
  }));
  const json = JSON.stringify;
  return {
    schema: RECORD_SCHEMA,
    model: model.id,
    model_sha256: model.sha256,
    layer: String(edit.layer),
    tensor: model.editedWeight(edit.layer).name,
    method: update.method,
    request: json({ prompt, subject, target, target_ids: edit.rows.targetIds }),
    options: json({
      steps: edit.options.steps,
      learning_rate: edit.options.learningRate,
      clamp: edit.options.clamp,
      kl_factor: edit.options.klFactor,
      weight_decay: edit.options.weightDecay,
    }),
    contexts: json(edit.contexts),
    seed: seed === undefined ? 'none' : String(seed),
    covariance,
    solve: json(update.solved),
    loss: json(trace),
    numbers: json(updateNumbers(update)),
    earlier: json(earlier),
    adapter: model.gpu.adapter.description,
    weights: model.storage,
    versions: json(versions),
  };
}

/**
 * Reads an edit file.
 *
 * @throws UsageError naming the file, the field or tensor, what was expected and what came
 */
export async function readRecord(file: RecordFile): Promise<EditRecord> {
  const fault = (what: string): UsageError =>
    new UsageError(
      `edit file ${file.name}: ${what}. Write it again with palimpsest edit --out.`,
      'bad_edit_file',
    );
  const field = (name: string): string => {
    const value = file.metadata[name];
    if (value === undefined) throw fault(`expected "${name}" in its metadata, there is none`);
    return value;
  };
  const { schema } = file.metadata;
  if (schema !== RECORD_SCHEMA && schema !== OLD_SCHEMA) {
    const found = schema === undefined ? 'none' : `"${schema}"`;
    throw fault(`expected schema "${RECORD_SCHEMA}" in its metadata, found ${found}: this is no edit file`);
  }
  if (schema === RECORD_SCHEMA) field('checksum');
  const sha256 = field('model_sha256');
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw fault(`model_sha256: expected 64 hexadecimal digits, found "${sha256}"`);
  const layer = Number(field('layer'));
  if (!/^\d+$/.test(field('layer'))) throw fault(`layer: expected a whole number, found "${field('layer')}"`);
  const method = METHODS.find((known) => known === field('method'));
  if (!method) throw fault(`method: expected ${METHODS.join(', ')}, found "${field('method')}"`);
  const request = parseRequest(jsonIfAny(field('request')));
  if (!request) throw fault('request: expected a prompt with one {}, subject, target and target_ids');

  const { u, lambda, rank } = await readPair(file, ['u', 'lambda'], fault);
  return {
    U: u,
    Lambda: lambda,
    rank,
    model: { id: field('model'), sha256 },
    layer,
    tensor: field('tensor'),
    method,
    request,
    verified: await verify(file, fault),
    metadata: file.metadata,
  };
}

/** u [F, r] and λ [r, D] of a file, or [F] and [D]. */
export async function readPair(
  file: RecordFile,
  names: readonly [u: string, lambda: string],
  fault: (what: string) => UsageError,
): Promise<{ u: Float32Array<ArrayBuffer>; lambda: Float32Array<ArrayBuffer>; rank: number }> {
  const matrix = async (
    name: string,
  ): Promise<{ shape: readonly number[]; values: Float32Array<ArrayBuffer> }> => {
    if (!file.names().includes(name)) throw fault(`expected a tensor "${name}", there is none`);
    const { dtype, shape } = file.info(name);
    if (dtype !== 'F32' || shape.length < 1 || shape.length > 2)
      throw fault(`${name}: expected F32 with one dimension or two, found ${dtype} [${shape.join(', ')}]`);
    const values = await file.readFloats(name);
    const at = values.findIndex((x) => !Number.isFinite(x));
    if (at >= 0) throw fault(`${name}: expected finite numbers, found ${values[at]} at ${at}`);
    return { shape, values };
  };
  const [u, lambda] = [await matrix(names[0]), await matrix(names[1])];
  const rank = u.shape[1] ?? 1;
  if (u.shape.length !== lambda.shape.length || (lambda.shape.length === 2 && lambda.shape[0] !== rank))
    throw fault(
      `expected u [F, r] and lambda [r, D], found u [${u.shape.join(', ')}] and lambda [${lambda.shape.join(', ')}]`,
    );
  return { u: u.values, lambda: lambda.values, rank };
}

export async function verify(file: RecordFile, fault: (what: string) => UsageError): Promise<boolean> {
  const right = await isSealed(file);
  if (right === false)
    throw fault(
      'its numbers or its metadata were changed after it was written: they do not give its checksum',
    );
  return right === true;
}

/**
 * Checks that an edit belongs to a model.
 *
 * @param name what to call the edit: its file
 * @throws UsageError naming both
 */
export function checkRecord(
  record: Pick<EditRecord, 'model' | 'tensor' | keyof LowRankUpdate>,
  name: string,
  model: { readonly id: string; readonly sha256: string; readonly architecture: Architecture },
): void {
  const { layers, D, F } = model.architecture.dims;
  const fault = (what: string, advice: string): UsageError =>
    new UsageError(`edit file ${name}: ${what}. ${advice}`, 'other_model');
  if (record.model.sha256 !== model.sha256)
    throw fault(
      `it edits ${record.model.id} (sha256 ${record.model.sha256.slice(0, 12)}), but the model is ${model.id} (sha256 ${model.sha256.slice(0, 12)})`,
      `Give the model it was made for with --model, or make the edit again on ${model.id}.`,
    );
  if (record.layer >= layers)
    throw fault(
      `it edits layer ${record.layer}, but ${model.id} has layers 0 to ${layers - 1}`,
      'Make it again.',
    );
  const { name: tensor } = model.architecture.editedWeight(record.layer);
  if (record.tensor !== tensor)
    throw fault(
      `tensor: expected ${tensor} for layer ${record.layer} of ${model.id}, found ${record.tensor}`,
      'Make it again.',
    );
  const [rows, cols] = [record.U.length / record.rank, record.Lambda.length / record.rank];
  if (rows !== F || cols !== D)
    throw fault(
      `expected u [${F}] and lambda [${D}] for ${model.id}, found u [${rows}] and lambda [${cols}]`,
      'Make it again.',
    );
}

export function parseRequest(found: unknown): EditRecord['request'] | undefined {
  if (typeof found !== 'object' || found === null) return undefined;
  const { prompt, subject, target, target_ids: targetIds } = found as Record<string, unknown>;
  if (typeof prompt !== 'string' || typeof subject !== 'string' || typeof target !== 'string')
    return undefined;
  if (prompt.split('{}').length !== 2) return undefined;
  if (!Array.isArray(targetIds) || !targetIds.every((id) => Number.isSafeInteger(id) && id >= 0))
    return undefined;
  return { prompt, subject, target, targetIds: targetIds as number[] };
}
