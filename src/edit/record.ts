/**
 * The edit file: u and Λ of one edit with all it takes to replay it, about 8 kB for the bundled model.
 *
 * safetensors, f32 `u` [F] and `lambda` [D], or [F, r] and [r, D] of a rank r above 1; everything else stands in
 * `__metadata__` as text. Reading and writing bytes is the host's part: here a record becomes tensors and strings, and
 * back, checked.
 */
import { UsageError } from '../errors.ts';
import { jsonIfAny } from '../json.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import type { Architecture } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import type { Edit, Update } from './edit.ts';
import { type Thresholds, judge } from './guard.ts';
import { type Method, METHODS } from './method.ts';
import {
  RECORD_SCHEMA,
  commonMetadata,
  pairTensors,
  parseRequest,
  readFields,
  requestFields,
} from './record-fields.ts';
import type { Circumstances, RecordFile, RecordModel, RecordedRequest } from './record-fields.ts';
import type { LowRankUpdate } from './update.ts';

/** Written by version 0.1.0, without one. */
const OLD_SCHEMA = 'palimpsest.edit/1';

export interface EditRecord extends LowRankUpdate {
  readonly model: Pick<RecordModel, 'id' | 'sha256'>;
  /** The Hugging Face name of W. */
  readonly tensor: string;
  readonly method: Method;
  readonly request: RecordedRequest;
  /** Its checksum was there and right; false for a file of version 0.1.0, which has none. */
  readonly verified: boolean;
  /** Everything as text, as it stands in the file. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The tensors of an edit file: vectors for one pair, matrices for more. */
export function recordTensors(update: LowRankUpdate): TensorToWrite[] {
  const flat = ({ shape, ...tensor }: TensorToWrite): TensorToWrite => ({
    ...tensor,
    shape: [Math.max(...shape)],
  });
  return update.rank === 1 ? pairTensors(update).map(flat) : pairTensors(update);
}

/** The numbers of an update as files and `--json` name them. */
export type UpdateNumbers = Readonly<ReturnType<typeof updateNumbers>>;

/** @param thresholds of the verdict, where they are not the usual ones */
export function updateNumbers(update: Update, thresholds?: Thresholds) {
  const verdict = thresholds ? judge(update.cosine, update.relativeUpdate, thresholds) : update.verdict;
  return {
    divisor: update.divisor,
    cosine: update.cosine,
    lambda_norm: update.lambdaNorm,
    update_norm: update.updateNorm,
    normalised_update: update.normalisedUpdate,
    relative_update: update.relativeUpdate,
    verdict,
  };
}

/** What the file's `__metadata__` says of an edit; whoever writes it lets `sealed` add the checksum. */
export function recordMetadata(
  model: Model,
  edit: Edit,
  update: Update,
  circumstances: Circumstances,
): Record<string, string> {
  const { request, rows, layer, options } = edit;
  const trace = edit.trace.map(({ loss, nll, kl, decay, probability }) => ({
    ...{ loss, nll, kl, decay, probability },
  }));
  const json = JSON.stringify;
  const { id, sha256, storage, gpu } = model;
  const about = { id, sha256, storage, adapter: gpu.adapter.description };
  return {
    ...commonMetadata(about, update.method, circumstances),
    layer: String(layer),
    tensor: model.editedWeight(layer).name,
    request: json(requestFields({ ...request, targetIds: rows.targetIds })),
    options: json({
      steps: options.steps,
      learning_rate: options.learningRate,
      clamp: options.clamp,
      kl_factor: options.klFactor,
      weight_decay: options.weightDecay,
      stop_after: options.stopAfter,
      anchor_norm: options.anchorNorm,
    }),
    contexts: json(edit.contexts),
    covariance: circumstances.covariance,
    solve: json(update.solved),
    loss: json(trace),
    numbers: json(updateNumbers(update)),
  };
}

/**
 * Reads an edit file.
 *
 * @throws UsageError naming the file, the field or tensor, what was expected and what came
 */
export async function readRecord(file: RecordFile): Promise<EditRecord> {
  const known = { schemas: [RECORD_SCHEMA, OLD_SCHEMA], methods: METHODS };
  const { model, method, field, fault, ...fields } = readFields(file, 'palimpsest edit --out', known);
  if (!/^\d+$/.test(field('layer'))) throw fault(`layer: expected a whole number, found "${field('layer')}"`);
  const request = parseRequest(jsonIfAny(field('request')));
  if (!request) throw fault('request: expected a prompt with one {}, subject, target and target_ids');
  return {
    ...(await fields.pair()),
    ...{ model, layer: Number(field('layer')), tensor: field('tensor'), method, request },
    ...{ verified: await fields.verify(), metadata: file.metadata },
  };
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
  model: EditRecord['model'] & { readonly architecture: Architecture },
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
