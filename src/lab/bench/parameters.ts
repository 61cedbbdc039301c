/** How many numbers a GPT-2 holds. */
import { expectedTensors } from '../../models/checkpoint.ts';
import type { Gpt2Config } from '../../models/config.ts';

export function parametersOf(config: Gpt2Config): number {
  let sum = 0;
  for (const shape of expectedTensors(config).values()) sum += shape.reduce((product, n) => product * n, 1);
  return sum;
}
