/** The covariance of the fixtures, factored once a process. */
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { packSymmetric } from '../src/edit/panels.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import { openSafetensors } from '../src/io/file.ts';
import { gpu } from './gpu.ts';
import { golden } from './model.ts';

export async function goldenSolver(): Promise<Solver> {
  const file = await openSafetensors(golden('fixtures/covariance.safetensors'));
  const size = file.info('C').shape[0]!;
  const panels = packSymmetric(await file.readFloats('C'), size);
  return covarianceSolver(gpu, { key: 'fixtures', size, tokens: Number(file.metadata['tokens']), panels });
}
