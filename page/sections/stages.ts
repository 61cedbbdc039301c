/** The five steps of an edit: what they compute, in TeX, with the symbols in it, and by which shaders. */
import type { strings } from '../strings.ts';

export type StageName = keyof typeof strings.read.stages;
export type Symbol_ = keyof typeof strings.read.symbolNames;

export interface Stage {
  readonly name: StageName;
  /** `\sym{name}{TeX}` is a symbol that can be pointed at. */
  readonly equations: readonly string[];
  readonly symbols: readonly Symbol_[];
  readonly shapes: (dims: Dims) => readonly (readonly [string, string])[];
  /** A shader, and what stands in the line that computes the formula. */
  readonly shaders: readonly { readonly name: string; readonly mark: string }[];
}

interface Dims {
  readonly D: number;
  readonly F: number;
  readonly contexts: number;
  readonly V: number;
}

const sym = (name: Symbol_, tex: string): string => String.raw`\class{sym sym-${name}}{${tex}}`;

const K = sym('k', 'k');
const K_MEAN = sym('kMean', 'k^*');
const V0 = sym('v0', 'v_0');
const DELTA = sym('delta', String.raw`\delta`);
const V_STAR = sym('vStar', 'v^*');
const U = sym('u', 'u');
const LAMBDA = sym('lambda', String.raw`\Lambda`);
const W = sym('W', 'W');

export const STAGES: readonly Stage[] = [
  {
    name: 'key',
    equations: [
      String.raw`${K}_j = \operatorname{GELU}\big(\operatorname{LN}(h_j)\, W_\mathrm{fc} + b_\mathrm{fc}\big)`,
      String.raw`${K_MEAN} = \frac{1}{n} \sum_{j=1}^{n} ${K}_j`,
    ],
    symbols: ['k', 'kMean'],
    shapes: ({ D, F, contexts }) => [
      ['h', `[${D}]`],
      ['W_fc', `[${D}, ${F}]`],
      ['k, k*', `[${F}]`],
      ['n', String(contexts)],
    ],
    shaders: [
      { name: 'tensor/gelu', mark: 'y[i] = ' },
      { name: 'tensor/sum_rows', mark: 'y[i] = ' },
    ],
  },
  {
    name: 'value',
    equations: [
      String.raw`${V_STAR} = ${V0} + ${DELTA}`,
      String.raw`${DELTA} = \arg\min_{\delta}\; \frac{1}{n}\sum_j -\log p_\delta(\text{target} \mid x_j) + \lambda_\mathrm{KL}\, \mathrm{KL}\big(p_\delta \,\|\, p_0\big) + \lambda_\mathrm{wd} \frac{|\delta|}{|${V0}|^2}`,
    ],
    symbols: ['v0', 'delta', 'vStar'],
    shapes: ({ D, V, contexts }) => [
      ['v₀, δ, v*', `[${D}]`],
      ['p', `[${contexts} · tokens, ${V}]`],
    ],
    shaders: [
      { name: 'models/nll', mark: 'y[i] = ' },
      { name: 'models/kl_divergence', mark: '' },
      { name: 'edit/adam_step', mark: 'delta[i] -= ' },
    ],
  },
  {
    name: 'direction',
    equations: [
      String.raw`C = \mathbb{E}\big[k\, k^\top\big] = L L^\top`,
      String.raw`${U} = \frac{C^{-1} ${K_MEAN}}{|C^{-1} ${K_MEAN}|}`,
    ],
    symbols: ['kMean', 'u'],
    shapes: ({ F }) => [
      ['C, L', `[${F}, ${F}]`],
      ['u', `[${F}]`],
    ],
    shaders: [
      { name: 'edit/second_moment_1', mark: '' },
      { name: 'edit/triangular_solve_lower', mark: 'value += ' },
      { name: 'edit/triangular_solve_upper', mark: 'value += ' },
    ],
  },
  {
    name: 'update',
    equations: [
      String.raw`${LAMBDA} = \frac{${V_STAR} - (${K}${W} + b)}{${K} \cdot ${U}}`,
      String.raw`${W} \leftarrow ${W} + ${U}\, ${LAMBDA}^\top`,
    ],
    symbols: ['vStar', 'k', 'u', 'lambda', 'W'],
    shapes: ({ D, F }) => [
      ['Λ', `[${D}]`],
      ['W, u Λᵀ', `[${F}, ${D}]`],
    ],
    shaders: [
      { name: 'edit/lambda', mark: 'lambda[i] = ' },
      { name: 'edit/rank_one_update', mark: 'w[i] += ' },
    ],
  },
  {
    name: 'verdict',
    equations: [
      String.raw`\cos(${K}, ${U}) = \frac{${K} \cdot ${U}}{|${K}|\,|${U}|}`,
      String.raw`\frac{|${U}${LAMBDA}^\top|}{|${W}|} = \frac{|${LAMBDA}|}{|${W}|}`,
    ],
    symbols: ['k', 'u', 'lambda', 'W'],
    shapes: ({ F, D }) => [['W', `[${F}, ${D}]`]],
    shaders: [{ name: 'edit/sum_squares', mark: '' }],
  },
];
