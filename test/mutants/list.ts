/** Mistakes that tests must catch, each with the test that has to. */
import type { Change } from './mutate.ts';

export interface Mutant extends Change {
  /** The mistake, in words. */
  readonly name: string;
  readonly file: string;
  /** `test/NAME.test.ts`, and which of its tests; all of them where absent. */
  readonly test: string;
  readonly only?: RegExp;
}

/**
 * Mutants out of a table: a test with a pattern of the names in it, and below it each mistake with its place.
 *
 *     test: pattern
 *       the mistake, in words
 *         file in function: from -> to
 */
export function readMutants(table: string): Mutant[] {
  let [test, only, name]: [string, RegExp | undefined, string] = ['', undefined, ''];
  const mutants: Mutant[] = [];
  for (const line of table.trim().replaceAll('\n      ->', ' ->').split('\n')) {
    const header = /^([\w-]+)(?:: (.+))?$/.exec(line);
    const mistake = /^ {2}(\S.*)$/.exec(line)?.[1];
    const place = /^ {4}(\S+?)(?: in (\w+))?: (.+) -> (.+)$/.exec(line);
    if (header) [test, only] = [header[1] ?? '', header[2] === undefined ? undefined : new RegExp(header[2])];
    else if (mistake !== undefined) name = mistake;
    else if (place) {
      const [, file = '', within, from = '', to = ''] = place;
      mutants.push({ name, test, file, from, to, ...(only && { only }), ...(within && { within }) });
    } else throw new Error(`mutants: expected "    file: from -> to", found "${line}"`);
  }
  return mutants;
}

export const MUTANTS: readonly Mutant[] = readMutants(String.raw`
edit: ^fixture 0:
  r-ROME solves u from the key of the prompt
    src/edit/method.ts: { ...single, u: 'mean', residual: 'mean', title: $title }
      -> { ...single, u: 'prompt', residual: 'mean', title: $title }
  ROME divides by the mean key
    src/edit/method.ts: { ...single, u: 'mean', residual: 'prompt', title: $title }
      -> { ...single, u: 'mean', residual: 'mean', title: $title }
  C = I
    src/edit/covariance-solver.ts in panelSolver: { u, solved: $solved }
      -> { u: normalise(s, k), solved: $solved }
  v0 is the mean over contexts
    src/edit/compute.ts in computeBatch: { suffix, v0: values.prompt, options: valueOptions, onStep, signal }
      -> { suffix, v0: values.mean, options: valueOptions, onStep, signal }
  Adam without bias correction
    src/edit/adam.ts: 1 - BETA2 ** (step + 1) -> 1
  KL turned round: KL(before || now)
    shaders/models/kl_divergence.wgsl: exp(log_p) * (log_p - log_p0[before + c])
      -> exp(log_p0[before + c]) * (log_p0[before + c] - log_p)
  the gradient of KL is that of the cross entropy
    shaders/models/loss_gradient.wgsl: log_p - log_before -> log_p
  the last subject token is the first one
    src/edit/rows.ts in rewriteRow: found.lookup -> Math.max(0, found.lookup - 1)
  targets are predicted one token late
    src/edit/rows.ts in rewriteRow: promptLength - 1 + t -> promptLength + t
edit-kernels: ^twelve steps
  the weight decay is not divided by |v0|²
    shaders/edit/adam_step.wgsl: params.weight_decay / (norm * v0_squared) -> params.weight_decay / norm
  the clamp compares squares
    shaders/edit/adam_step.wgsl: sqrt(v0_squared) -> v0_squared
edit-kernels: ^loss_trace
  the probability is that of the mean loss
    shaders/edit/loss_trace.wgsl: trace[row + 4u] = parts[0].y / n -> trace[row + 4u] = exp(-likelihood)
edit-kernels: ^add_at_rows
  delta lands on the row itself, not on the row named
    shaders/tensor/put_rows.wgsl: at = rows[i] * params.d -> at = i * params.d
edit-kernels: ^sum_rows
  the mean is a sum
    shaders/tensor/sum_rows.wgsl: weights[j] * x -> x
edit-kernels: ^lambda
  Λ is divided by |u| once more
    shaders/edit/lambda.wgsl: (v_star[i] - v[i]) / divisor -> (v_star[i] - v[i]) / (divisor * norms.y)
edit-kernels: ^rank_one_update: W
  W += Λ uᵀ: rows and columns change places
    shaders/edit/rank_one_update.wgsl: u[params.first + i / params.d] * lambda[i % params.d]
      -> u[params.first + i % params.rows] * lambda[(i / params.rows) % params.d]
edit-kernels: windows
  every window of W takes the first rows of u
    shaders/edit/rank_one_update.wgsl: params.first + i / params.d -> i / params.d
strips: same bits
  a long sum from a buffer is not cut into the blocks of one from strips
    shaders/software/matmul_buffer_16x128.wgsl: q % 256u == 255u -> q % 256u == 254u
  strips are taken at the second product where a buffer sums otherwise
    src/tensor/matmul-rungs.ts: p.lasting === true || inQuads(p) -> p.lasting === true || !p.gelu
matmul: matmul_1 transposed f16
  the two halves of a word change places
    shaders/tensor/matmul_1.wgsl: 16u * (i & 1u) -> 16u - 16u * (i & 1u)
  a transposed b is read with the stride of the other layout
    shaders/tensor/matmul_1.wgsl: j * params.k -> j * params.n
attention: ^forward
  a token does not see itself
    shaders/models/attention_1.wgsl: j < span.y + span.w -> j + 1u < span.y + span.w
  every query head reads the first head of keys
    shaders/models/attention_1.wgsl: h / params.group * params.head -> 0u
  the cache is read from its first column
    shaders/models/attention_1.wgsl: params.cache_k + head -> head
layernorm: ^every shape and workgroup, rows around 100
  the variance is that of the raw values
    shaders/models/layernorm_1.wgsl: x[start + c] - mean; -> x[start + c];
embed
  positions are those of the batch, not of the row
    shaders/models/embed.wgsl: positions[t] * params.d -> t * params.d
rows: ^put_rows
  the cache keeps queries for keys
    shaders/tensor/put_rows.wgsl: (params.first + params.d) + params.first -> (params.first + params.d)
  restored rows come from where they go
    shaders/tensor/put_rows.wgsl: start = sources[i] -> start = rows[i]
pick: ^nll
  looked-up losses are those of the first rows
    shaders/models/nll.wgsl: logits[rows[i] * params.v + targets[i]] -> logits[i * params.v + targets[i]]
activations: gelu: every size
  GELU by another constant
    shaders/tensor/gelu.wgsl: 0.044715 * c -> 0.0447 * c
activations: gelu: backward
  GELU’s slope forgets a factor of 3
    shaders/tensor/gelu_backward.wgsl: 3.0 * 0.044715 -> 0.044715
second-moment: _1: adds
  the second moment begins at the first token whatever it is told
    shaders/edit/second_moment_1.wgsl: var t = params.first; -> var t = 0u;
second-moment: _1: the sum
  panels of the second moment lie as if each were whole
    shaders/edit/second_moment_1.wgsl: (p * p - p) / 2u -> (p * p) / 2u
panels: 2 pieces: the factor
  products with a later piece of C forget the earlier ones
    shaders/edit/product_rows.wgsl: total, params.first == 0u) -> total, true)
edit-kernels: ^(rank_one_update: W|W \+=)
  the upper half of a word gets the update of the lower one
    shaders/tensor/narrow.wgsl: high = narrow(x[2u * i + 1u]) -> high = narrow(x[2u * i])
edit-kernels: ^the definition of lambda
  the plain Λ divides by |u|²
    shaders/edit/lambda_1.wgsl: divisor += key[f] * u[f] -> divisor += u[f] * u[f]
solve: solve_1|definition|plain
  the plain solve ends with L y = k
    shaders/edit/solve_1.wgsl: c[j * f + i] * x[j] -> 0.0 * x[j]
metrics: tails
  one tail of the interval holds all of the rest
    src/statistics.ts in bootstrap: (1 - confidence) / 2 -> 1 - confidence
metrics: bootstrap
  quantiles are order statistics
    src/statistics.ts in quantile: low + (high - low) * (at - Math.floor(at)) -> low
metrics
  a harmonic mean skips zeros
    src/statistics.ts in harmonicMean: if (x <= 0) return 0; -> if (x <= 0) continue;
  a tie is a success
    src/lab/metrics.ts in prefers: rivals.new.nll < rivals.true.nll -> rivals.new.nll <= rivals.true.nll
  neighbourhoods are scored for the new object
    src/lab/metrics.ts in caseMetrics: prefers(rivals, 'true') -> prefers(rivals, 'new')
metrics: F1
  F1 counts every class alike
    src/statistics.ts in weightedF1: support * ((2 * hits) / (support + claimed))
      -> (2 * hits) / (support + claimed)
metrics: fluency
  entropy in nats
    src/lab/texts.ts in entropyBits: Math.log2(count / items.length) -> Math.log(count / items.length)
guard
  the guard's threshold 0.15 is 0.1
    src/edit/guard.ts in THRESHOLDS: 0.15 -> 0.1
  the guard's threshold 0.05 is 0.04
    src/edit/guard.ts in THRESHOLDS: 0.05 -> 0.04
  the guard's threshold 4 is 5
    src/edit/guard.ts in THRESHOLDS: 4 -> 5
  the guard's threshold 10 is 100
    src/edit/guard.ts in THRESHOLDS: 10 -> 100
  an update that is no number is kept
    src/edit/guard.ts in judge: !(c >= t.disablingCosine && relativeUpdate <= t.disablingUpdate)
      -> c < t.disablingCosine || relativeUpdate > t.disablingUpdate
subject: ^rows
  other ids in the same number are no other tokens
    src/edit/rows.ts in editRows: $lengths || together.some($differs) -> $lengths
  a target tokenised otherwise is told from the second context on
    src/edit/warnings.ts in targetWarnings: differs.length > 0 -> differs.length > 1
safetensors: ^refuses
  tensors may overlap
    src/formats/safetensors-header.ts in checkTiling: start < end -> start < 0
  bytes behind the last tensor are allowed
    src/formats/safetensors-header.ts in checkTiling: end !== dataBytes -> end > dataBytes
  a shape may disagree with its bytes
    src/formats/safetensors-header.ts in parseEntry: wanted !== end - start -> wanted < end - start
  a key may come twice
    src/json.ts in checkNew: keys?.has(key) -> false
record: ^a file that is no edit
  an edit file may hold numbers that are none
    src/edit/record-fields.ts in readPair: !Number.isFinite(x) -> x === Infinity
covariance-file: ^damaged
  a covariance with damaged numbers is read
    src/formats/covariance-file.ts in readMatrices: actual === expected -> actual.length === expected.length
covariance-file: ^a file of another model
  a covariance of other weights is taken
    src/io/covariance-files.ts in differences: facts.weights === weights
      -> facts.weights.length === weights.length
guard: ^success
  a ten-fold rise is not enough
    src/edit/guard.ts: rise >= Math.log(RISE) -> rise > Math.log(RISE)
solve: ^a small residual
  refinement ends where the residual is small, whatever the error
    src/edit/refine.ts in refine: residual <= target && correction <= target -> residual <= target
bind-groups: ^bindings and params
  one wrong name is let through
    src/gpu/dispatch.ts in checkNames: wrong.length > 0 -> wrong.length > 1
`);
