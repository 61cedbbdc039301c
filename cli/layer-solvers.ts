/** C of many layers at once, for sweeps: from fewer tokens than an edit deserves, which is said. */
import { buildCovariance } from '../src/edit/covariance.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import type { Placed } from '../src/edit/pack-documents.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import type { Session } from './session.ts';

/** Ten times the rank that C must have. */
const TOKENS_PER_KEY = 10;

/**
 * Solvers by layer; C of all `layers` is built in one pass when the first one is asked for.
 *
 * @param texts documents, as many as are needed are read
 */
export function layerSolvers(
  { model, gpu, atEnd }: Pick<Session, 'model' | 'gpu' | 'atEnd'>,
  texts: readonly string[],
  layers: readonly number[],
  signal?: AbortSignal,
): (layer: number) => Promise<Solver> {
  const tokens = TOKENS_PER_KEY * model.dims.F;
  let building: ReturnType<typeof build> | undefined;
  const build = () => buildCovariance(model, { layers, tokens, documents: () => placed(texts), signal });
  return async (layer) => {
    const { built, tokens: counted } = await (building ??= build());
    const found = built.find((one) => one.layer === layer);
    if (!found) throw new RangeError(`covariance: layer ${layer} is none of ${layers.join(', ')}.`);
    const key = `sweep-layer-${layer}`;
    const solver = await covarianceSolver(gpu, {
      key,
      size: model.dims.F,
      tokens: counted,
      panels: found.covariance,
    });
    atEnd(() => solver.close());
    return solver;
  };
}

async function* placed(texts: readonly string[]): AsyncGenerator<Placed<number>> {
  for (const [index, text] of texts.entries()) yield { text, index, next: index + 1 };
}
