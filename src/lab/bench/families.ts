/** All families, in the order in which they are printed. */
import { attentionFamily } from './attention.ts';
import type { Family } from './case.ts';
import { choleskyFamily, solveFamily } from './cholesky.ts';
import { copyFamily } from './copy.ts';
import { geluFamily } from './gelu.ts';
import { layernormFamily } from './layernorm.ts';
import { matmulFamily } from './matmul.ts';
import { secondMomentFamily } from './second-moment.ts';
import { unembedFamily } from './unembed.ts';

export const FAMILIES: readonly Family[] = [
  matmulFamily,
  attentionFamily,
  unembedFamily,
  secondMomentFamily,
  choleskyFamily,
  solveFamily,
  geluFamily,
  layernormFamily,
  copyFamily,
];
