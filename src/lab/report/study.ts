/** What a report tells: any of these may be missing, and then its figures are. */
import type { TopLevelSpec } from 'vega-lite';
import type { Method } from '../../edit/method.ts';
import type { StudyHead, stepsOf } from '../batch-study.ts';
import type { TaskResult } from '../downstream.ts';
import type { CaseResult } from '../evaluate.ts';
import type { SequelLine } from '../sequel.ts';
import type { SequenceHead, SequenceLine } from '../sequence.ts';
import type { StyleRow } from '../styles.ts';
import type { AverageTracing, LayerScore } from '../trace-average.ts';
import type { Tracing } from '../trace.ts';
import type { AnyMethod, Size } from './theme.ts';

export interface Study {
  readonly title: string;
  /** Model, adapter, layer, seeds: name and value, in order. */
  readonly about: readonly (readonly [name: string, value: string])[];
  /** How to run it again. */
  readonly command: string;
  /** Single edits, each on the unedited model. */
  readonly evaluation?: { readonly cases: readonly CaseResult[]; readonly seed: number } | undefined;
  readonly sequences?: readonly SequenceRun[] | undefined;
  readonly styles?: readonly StyleSize[] | undefined;
  readonly downstream?: readonly DownstreamRow[] | undefined;
  readonly trace?: Tracing | undefined;
  readonly average?: AverageTracing | undefined;
  readonly sweep?: readonly LayerScore[] | undefined;
  /** Many facts, by every method. */
  readonly sequel?: readonly SequelLine[] | undefined;
}

export interface SequenceRun {
  readonly method: AnyMethod;
  readonly head: SequenceHead | StudyHead;
  readonly lines: readonly SequenceStep[];
}

export type SequenceStep = SequenceLine | ReturnType<typeof stepsOf>[number];

/** What the report shows of a comparison of prompt styles. */
export type StyleSize = Pick<StyleRow, 'style' | 'target' | 'method' | 'normalised_update'>;

export interface DownstreamRow {
  readonly result: Pick<TaskResult, 'task' | 'f1' | 'constant_f1' | 'invalid'>;
  /** undefined: the unedited model. */
  readonly method?: Method | undefined;
  /** Edits in the model. */
  readonly edit: number;
}

/** A figure of the report: a vega-lite specification at two sizes, and the words around it. */
export interface Figure {
  /** File name without extension. */
  readonly name: string;
  readonly title: string;
  /** How to read it. */
  readonly caption: string;
  /** undefined: it would show nothing, and the caption says why. A figure of one plot is given its width. */
  readonly draw?: ((size: Size) => TopLevelSpec) | undefined;
}
