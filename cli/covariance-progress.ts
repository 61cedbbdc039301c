/** Where a build stands: tokens, tokens/s and the time left. */
import type { BuildProgress } from '../src/io/covariance-build.ts';
import type { Run } from './command.ts';
import { count, duration } from './covariance-words.ts';
import type { Progress } from './terminal.ts';

/** The rate is that of the last so many milliseconds. */
const WINDOW_MS = 30_000;
const STEPS = 10_000;

/** A bar on a terminal, a line every ten seconds elsewhere. */
export class BuildProgressView {
  readonly #progress: Progress;
  readonly #samples: { readonly ms: number; readonly tokens: number; readonly fraction: number }[] = [];
  #tokens = 0;
  #tail = '';

  constructor({ terminal }: Run, what: string) {
    this.#progress = terminal.progress(what, (n) => (n === STEPS ? this.#tail : count(this.#tokens)));
  }

  update({ tokens, wanted, fraction }: BuildProgress): void {
    const now = performance.now();
    this.#samples.push({ ms: now, tokens, fraction });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.ms ?? now) > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0] ?? { ms: now, tokens, fraction };
    const seconds = (now - first.ms) / 1000;
    const rate = seconds > 0 ? (tokens - first.tokens) / seconds : 0;
    const left =
      seconds > 0 && fraction > first.fraction
        ? ((1 - fraction) / (fraction - first.fraction)) * seconds
        : NaN;
    this.#tokens = tokens;
    const total = wanted === undefined ? `about ${count(Math.round(tokens / fraction))}` : count(wanted);
    this.#tail = `${total} tokens${rate > 0 ? `, ${count(Math.round(rate))}/s` : ''}${left >= 0 ? `, ${duration(left)} left` : ''}`;
    this.#progress.update(Math.min(STEPS - 1, Math.floor(fraction * STEPS)), STEPS);
  }

  stop(): void {
    this.#progress.stop();
  }
}
