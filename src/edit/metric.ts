/**
 * The metric A of the formula (method.ts), ready for any number of keys: opened once a layer, used by every batch.
 */
import type { Gpu } from '../gpu/context.ts';
import type { Covariance } from './covariance-solver.ts';
import type { MassMethod, MassOptions } from './method.ts';

export interface MetricRequest {
  readonly method: MassMethod;
  readonly options: MassOptions;
  /** C of the layer. */
  readonly covariance: Covariance;
}

export interface Metric extends MetricRequest {
  /** F. */
  readonly size: number;
  /** ρ that was added to C so that it has a factor; 0: none. */
  readonly ridge: number;
  /** In one line, for people. */
  readonly description: string;
  /** Gives its memory back. */
  close(): void;
}

export type OpenMetric = (gpu: Gpu, request: MetricRequest) => Promise<Metric>;
