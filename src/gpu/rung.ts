/**
 * Ladders: several kernels for one op, from the fastest down to its definition. Engine, tests and benches go through
 * the same ones. A rung in `shaders/software` serves software adapters alone; the others serve GPUs, or every adapter.
 */
import { ShapeError } from '../errors.ts';
import type { AdapterSummary } from './adapter-info.ts';
import type { Grid } from './dispatch.ts';

export interface Rung<Shape> {
  /** Name of the shader. */
  readonly kernel: string;
  /** What tells it from other rungs of one shader; absent: the shader. */
  readonly name?: string;
  /** It computes this shape on this adapter, and correctly. */
  readonly fits: (shape: Shape, adapter: AdapterSummary) => boolean;
  /** It is worth taking where it fits; absent: always. */
  readonly suits?: (shape: Shape, adapter: AdapterSummary) => boolean;
  readonly grid: (shape: Shape, adapter: AdapterSummary) => Pick<Grid, 'groups' | 'threads'>;
  readonly overrides?: (shape: Shape, adapter: AdapterSummary) => Readonly<Record<string, number>>;
}

/** The first rung that fits and suits. A ladder ends with what fits everything: its definition, where it has one. */
export function choose<Shape, R extends Rung<Shape>>(
  ladder: readonly R[],
  shape: Shape,
  adapter: AdapterSummary,
): R {
  const found = ladder.find((rung) => rung.fits(shape, adapter) && (rung.suits?.(shape, adapter) ?? true));
  if (!found)
    throw new ShapeError(
      `choose: no rung of ${ladder.map(nameOf).join(', ')} fits ${JSON.stringify(shape)}.`,
    );
  return found;
}

export function nameOf({ name, kernel }: Pick<Rung<never>, 'name' | 'kernel'>): string {
  return name ?? kernel;
}

/** How a rung is dispatched for a shape. */
export function gridOf<Shape>(
  rung: Rung<Shape>,
  shape: Shape,
  adapter: AdapterSummary,
  cost?: Grid['cost'],
): Grid {
  return { ...rung.grid(shape, adapter), overrides: rung.overrides?.(shape, adapter), cost };
}

/** A software adapter whose subgroups all have `lanes` lanes. */
export function isSoftware(adapter: AdapterSummary, lanes: number): boolean {
  return adapter.kind === 'software' && adapter.subgroupSize === lanes;
}
