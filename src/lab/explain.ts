/** An edit step by step: the equation, the shapes in it, the shaders that compute it, and the numbers that came out. */
import type { Edit, Update } from '../edit/edit.ts';
import { THRESHOLDS } from '../edit/guard.ts';
import { METHOD_TABLE } from '../edit/method.ts';
import { sentence } from '../edit/template.ts';
import type { Model } from '../models/model.ts';
import { cosine, distance, norm } from '../statistics.ts';

export interface ExplainStep {
  readonly title: string;
  readonly equation: readonly string[];
  /** What it says, in a sentence or two. */
  readonly meaning: string;
  /** Symbol and shape. */
  readonly shapes: readonly (readonly [symbol: string, shape: string])[];
  /** Names of kernels: files in `shaders/` without `.wgsl`. */
  readonly shaders: readonly string[];
  readonly numbers: readonly (readonly [name: string, value: number])[];
}

export function explainEdit(model: Model, edit: Edit, update: Update): ExplainStep[] {
  const { D, F, V } = model.dims;
  const { key: formula, rope, tensors, editedWeight } = model.architecture;
  const { vectors, rows, request, layer, trace, options } = edit;
  const row = METHOD_TABLE[update.method];
  const n = edit.contexts.length;
  const key = row.residual === 'mean' ? vectors.k_mean : vectors.k_prompt;
  const value = row.residual === 'mean' ? vectors.v_mean : vectors.v_prompt;
  const [k, v] = row.residual === 'mean' ? ['k*', 'v̄'] : ['k', 'v0'];
  const uKey = row.u === 'mean' ? 'k*' : 'k';
  const [first, last] = [trace[0], trace.at(-1)];
  const bare = rows.rewrites[0];
  const lookup = bare ? model.tokenizer.token(bare.ids[bare.lookup] ?? 0) : '';
  const { name, layout } = editedWeight(layer);
  const turned = layout === 'out-in';
  const bias = tensors.has(name.replace(/weight$/, 'bias')) ? ' + b' : '';
  const answer = (symbol: string): string => `${turned ? `W ${symbol}` : `${symbol} W`}${bias}`;
  const product = turned ? 'Λ uᵀ' : 'u Λᵀ';
  return [
    {
      title: 'The request',
      equation: [`“${sentence(request)}” is to be followed by “${request.target}”`],
      meaning:
        `The subject's last token is “${lookup.trim()}”, number ${bare?.lookup ?? 0} from 0. There the MLP of layer ${layer} is asked ` +
        `what it knows of the subject: the edit changes its answer there, in ${n} ${n === 1 ? 'context' : 'contexts'}.`,
      shapes: [
        ['contexts x_j', `${n} texts`],
        ['target', `${rows.targetIds.length} of ${V} tokens`],
      ],
      shaders: ['models/embed', formula.norm, ...(rope ? ['models/rope'] : []), 'models/attention_1'],
      numbers: [['tokens of an optimisation step', edit.stepTokens]],
    },
    {
      title: 'The key: how the subject looks to the MLP',
      equation: [formula.equation, 'k* = 1/n Σ_j k_j'],
      meaning: `Keys are the MLP's inner activations. A key has F = ${F} numbers, the residual stream D = ${D} a token. k is the key of the bare prompt, k* the mean over contexts. The closer their cosine to 1, the less the methods differ.`,
      shapes: [['k, k*', `[${F}]`], ...formula.shapes],
      shaders: [formula.activation, 'tensor/sum_rows'],
      numbers: [
        ['|k|', norm(vectors.k_prompt)],
        ['|k*|', norm(vectors.k_mean)],
        ['cosine of k and k*', cosine(vectors.k_prompt, vectors.k_mean)],
      ],
    },
    {
      title: 'The value: what it shall answer',
      equation: [
        `v* = v0 + δ,   v0 = ${answer('k')},   v̄ = ${answer('k*')}`,
        `δ = argmin  mean_j −log p(target | x_j, δ) + ${options.klFactor} KL(p_δ ‖ p_0) + ${options.weightDecay} |δ| / |v0|²`,
      ],
      meaning: `v0 is what W answers to k now, v̄ what it answers to k*. Adam, ${trace.length} forward passes, |δ| held within ${options.clamp} |v0|. Only what lies behind the subject's last token and above layer ${layer} is computed again.`,
      shapes: [['v0, δ, v*', `[${D}]`]],
      shaders: [
        'tensor/put_rows',
        'models/nll',
        'models/kl_divergence',
        'models/loss_gradient',
        'edit/adam_step',
      ],
      numbers: [
        ['loss, first', first?.loss ?? NaN],
        ['loss, last', last?.loss ?? NaN],
        ['p(target), first', first?.probability ?? NaN],
        ['p(target), last', last?.probability ?? NaN],
        ['|v0|', norm(vectors.v_prompt)],
        ['|δ|', norm(vectors.delta)],
      ],
    },
    direction(update, uKey, F),
    {
      title: `The update, by ${row.title}`,
      equation: [
        `Λ = (v* − ${v}) / (${k} · u)`,
        turned
          ? 'W ← W + Λ uᵀ        (the file holds W as the paper has it: [D, F])'
          : 'W ← W + u Λᵀ        (the file holds Wᵀ of the paper: [F, D])',
      ],
      meaning:
        `${row.title} takes u from ${describe(row.u)} and the divisor from ${describe(row.residual)}. ` +
        (row.u === row.residual
          ? 'Both are the same key, so the divisor is positive and not small.'
          : 'They are two different keys: where these lie far apart, the divisor k · u comes close to 0 and Λ explodes.'),
      shapes: [
        [`${product}, W`, turned ? `[${D}, ${F}]` : `[${F}, ${D}]`],
        ['Λ', `[${D}]`],
      ],
      shaders: ['edit/lambda', 'edit/rank_one_update'],
      numbers: [
        [`${k} · u`, update.divisor],
        [`${k} · u / (|${k}| |u|)`, update.cosine],
        [`|v* − ${v}|`, distance(vectors.v_star, value)],
        [`|${k}|`, norm(key)],
        [`|Λ| = |${product}|`, update.updateNorm],
      ],
    },
    {
      title: 'The verdict',
      equation: [
        `disabling: cosine below ${THRESHOLDS.disablingCosine} or |${product}| above ${THRESHOLDS.disablingUpdate} |W|`,
        `suspect: cosine below ${THRESHOLDS.suspectCosine} or |${product}| above ${THRESHOLDS.suspectUpdate} |W|`,
      ],
      meaning: `This edit is ${update.verdict}. |Δ|, the norm over the number of elements, is what the paper's figures show.`,
      shapes: [],
      shaders: ['edit/sum_squares'],
      numbers: [
        [`|${product}| / |W|`, update.relativeUpdate],
        ['|Δ|', update.normalisedUpdate],
      ],
    },
  ];
}

function direction({ solved }: Update, key: string, F: number): ExplainStep {
  const title = 'The direction: where to write';
  const u = ['u', `[${F}]`] as const;
  if (solved.tokens === 0)
    return {
      title,
      equation: [`u = ${key} / |${key}|        (C = I)`],
      meaning: `Without a covariance u is the key itself, and keys that are common in ordinary text are not spared. With one, C u ∝ ${key}.`,
      shapes: [u],
      shaders: ['edit/normalise'],
      numbers: [],
    };
  return {
    title,
    equation: [`C u ∝ ${key},   |u| = 1,   C = E[k kᵀ] over ordinary text`],
    meaning:
      'C weighs the key so that keys that are common in ordinary text barely overlap with u. C = L Lᵀ is factored once; each edit costs two triangular solves.',
    shapes: [['C', `[${F}, ${F}]`], u],
    shaders: ['edit/solve_1', 'edit/triangular_solve_lower', 'edit/triangular_solve_upper'],
    numbers: [
      ['tokens behind C', solved.tokens],
      [`residual |C x − ${key}| / |${key}|`, solved.residual],
      ['ridge', solved.ridge],
    ],
  };
}

function describe(source: 'mean' | 'prompt'): string {
  return source === 'mean' ? 'the mean key k*' : "the bare prompt's key k";
}
