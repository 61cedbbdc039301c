/** Which C an edit solves with: `--covariance auto|identity|FILE`. */
import { covarianceSolver, identitySolver } from '../src/edit/covariance-solver.ts';
import type { Solver } from '../src/edit/solver.ts';
import { EditRefused, ModelError } from '../src/errors.ts';
import { findCovariance, loadCovariance } from '../src/io/covariance-files.ts';
import type { Session } from './session.ts';

export interface ChosenSolver {
  readonly solver: Solver;
  /** For the line that says what is used. */
  readonly title: string;
}

/**
 * The solver of a layer; it is given back with the session.
 *
 * @throws EditRefused when `auto` finds none: an edit without C is another method, and is never chosen silently
 */
export async function chooseSolver(session: Session, layer: number, wanted = 'auto'): Promise<ChosenSolver> {
  if (wanted === 'identity') return { solver: identitySolver(), title: 'no covariance (C = I)' };
  const path = wanted === 'auto' ? await findOne(session, layer) : wanted;
  const covariance = await loadCovariance(path, session.checkpoint, layer);
  const solver = await covarianceSolver(session.gpu, covariance);
  session.atEnd(() => solver.close());
  const source = wanted === 'auto' ? 'covariance' : `covariance ${wanted}`;
  return { solver, title: `${source} of layer ${layer}, ${covariance.tokens.toLocaleString('en')} tokens` };
}

async function findOne({ checkpoint, found }: Session, layer: number): Promise<string> {
  try {
    return await findCovariance(checkpoint, layer, found.entry);
  } catch (error) {
    if (!(error instanceof ModelError) || error.code !== 'no_covariance') throw error;
    throw new EditRefused(error.message, error.code, { cause: error });
  }
}
