/** How many numbers a model holds. */
import type { Architecture } from '../../models/architecture.ts';

export function parametersOf({ tensors }: Architecture): number {
  let sum = 0;
  for (const { shape } of tensors.values()) sum += shape.reduce((product, n) => product * n, 1);
  return sum;
}
