/**
 * The engine, for any host that has WebGPU: a browser page or a program. Nothing here needs Node; what reads disks and
 * opens adapters there is `palimpsest/node`, a page's adapter `palimpsest/browser`.
 *
 *   a device      Gpu.create({ adapter, summary: summariseAdapter(adapter), shader })
 *   a shader      gpu.scope, upload, empty, gpu.run with its bindings and Params by name, read; matmul chooses among ours
 *   a model       readSafetensors, readArchitecture, checkTensors make a Checkpoint of files wherever they lie; Model.load,
 *                 then predict, generate
 *   an edit       readBracketed, sampleContexts, covarianceSolver, computeEdit, then keepWeights and applyEdits, or withUpdate
 *   its file      recordTensors, recordMetadata, sealed, safetensorsBytes; readSafetensors, readRecord
 *   C = E[k kᵀ]   buildCovariance; checkCovariance, readC
 *   experiments   evaluate, runSequence
 */
export * from './errors.ts';

export { summariseAdapter } from './gpu/adapter-info.ts';
export { Gpu } from './gpu/context.ts';
export type { AdapterSummary } from './gpu/adapter-info.ts';
export type { Surroundings } from './gpu/context.ts';

export type { Scope } from './gpu/scope.ts';
export { matmul } from './tensor/matmul.ts';
export { empty, read, upload } from './tensor/tensor.ts';
export type { Tensor } from './tensor/tensor.ts';

export { Model } from './models/model.ts';
export { checkTensors, readArchitecture } from './models/checkpoint.ts';
export type { Checkpoint, TensorFile, TensorInfo } from './models/checkpoint.ts';
export { sealed } from './formats/checksum.ts';
export { readSafetensors, safetensorsBytes } from './formats/safetensors.ts';
export type { ByteSource } from './formats/source.ts';
export { Tokenizer } from './models/tokenizer.ts';
export { predict } from './models/predict.ts';
export type { NextToken, PredictOptions, Prediction } from './models/predict.ts';
export { generate } from './models/generate.ts';
export type { GenerateOptions } from './models/generate.ts';

export { readBracketed, readRequest } from './edit/request.ts';
export type { EditRequest } from './edit/request.ts';
export type { Warning } from './edit/warnings.ts';
export { sampleContexts } from './edit/contexts.ts';
export { covarianceSolver, identitySolver } from './edit/covariance-solver.ts';
export type { Covariance, CovarianceSolver } from './edit/covariance-solver.ts';
export type { Solver } from './edit/covariance-solver.ts';
export { computeEdit, computeEdits } from './edit/edit.ts';
export type { Edit, EditOptions, EditsOptions, Update } from './edit/edit.ts';
export { MASS_DEFAULTS, MASS_METHODS, METHODS } from './edit/method.ts';
export type { MassMethod, MassOptions, Method } from './edit/method.ts';
export { openMetric } from './edit/metric.ts';
export type { Metric, MetricRequest } from './edit/metric.ts';
export { massUpdate } from './edit/mass-update.ts';
export type { MassRequest, MassUpdate } from './edit/mass-update.ts';
export { applyEdits, keepWeights, withUpdate } from './edit/apply.ts';
export type { KeptWeights } from './edit/apply.ts';
export { checkRecord, readRecord, recordMetadata, recordTensors } from './edit/record.ts';
export type { EditRecord } from './edit/record.ts';
export { buildCovariance } from './edit/covariance.ts';
export { checkCovariance, readC } from './formats/covariance-file.ts';

export { evaluate } from './lab/evaluate.ts';
export type { CaseResult, EvaluateOptions } from './lab/evaluate.ts';
export { runSequence } from './lab/sequence.ts';
