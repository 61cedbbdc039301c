/** Whether a covariance can have an inverse at all. */
import { EditRefused } from '../errors.ts';

/** C has at most as many directions as tokens; below twice F the weakest of them are chance. */
export const TOKENS_PER_DIMENSION = 2;

/**
 * Refuses a C of too few tokens, or with a neuron that never fired.
 *
 * @param key       what edit files call the covariance by
 * @param diagonal  [F] of C
 * @param tokens    that C is the mean of
 * @throws EditRefused `too_few_tokens`, `covariance_singular`
 */
export function checkRank(key: string, diagonal: ArrayLike<number>, tokens: number): void {
  const f = diagonal.length;
  if (!(tokens >= TOKENS_PER_DIMENSION * f)) {
    throw new EditRefused(
      `covariance ${key}: C was built from ${tokens} tokens, at least 2F = ${TOKENS_PER_DIMENSION * f} needed: ` +
        `it has no more directions than tokens. Build it from more text (10F = ${10 * f} is better).`,
      'too_few_tokens',
    );
  }
  for (let i = 0; i < f; i += 1) {
    const value = diagonal[i] ?? NaN;
    if (value > 0 && Number.isFinite(value)) continue;
    throw new EditRefused(
      `covariance ${key}: the mean square of neuron ${i} is ${value} over ${tokens} tokens, so C has no inverse. ` +
        (value === 0 ? 'Build it from more varied text.' : 'The file is damaged: build it again.'),
      'covariance_singular',
    );
  }
}
