/** What crosses between the page and the worker that owns the device: plain data alone. */
import type { EditPhase } from '../../src/edit/edit.ts';
import type { Verdict, Success } from '../../src/edit/guard.ts';
import type { Method } from '../../src/edit/method.ts';
import type { TraceRow } from '../../src/edit/value-loss.ts';
import type { AdapterSummary } from '../../src/gpu/adapter-info.ts';
import type { NextToken, Prediction } from '../../src/models/predict.ts';

export type Vector = Float32Array<ArrayBuffer>;

/** How far the model's files are. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  /** Bytes that came from the browser's own store. */
  readonly cached: number;
}

export interface Opened {
  readonly adapter: AdapterSummary;
  readonly limits: Readonly<Record<string, number>>;
  readonly model: { readonly id: string; readonly sha256: string };
  readonly dims: Readonly<Record<'D' | 'F' | 'H' | 'V' | 'layers' | 'context', number>>;
  readonly layer: number;
  readonly covarianceTokens: number;
  /** False: the browser keeps nothing, so the next visit fetches the model again. */
  readonly stored: boolean;
  readonly ms: number;
}

/** What the visitor asks for. */
export interface Wish {
  readonly prompt: string;
  readonly subject: string;
  readonly target: string;
  readonly method: Method;
  /** Other prompts that are asked before and after. */
  readonly watched: readonly string[];
}

/** The prompt as the model reads it. */
export interface TokenStrip {
  readonly tokens: readonly string[];
  readonly lookup: number;
  readonly targetTokens: readonly string[];
  readonly warnings: readonly string[];
}

export type EditEvent =
  | { readonly kind: 'tokens'; readonly strip: TokenStrip }
  | { readonly kind: 'before'; readonly before: Prediction }
  | { readonly kind: 'contexts'; readonly done: number; readonly total: number }
  | { readonly kind: 'phase'; readonly phase: EditPhase | 'verify' }
  | { readonly kind: 'step'; readonly step: number; readonly row: TraceRow };

/** One method's numbers, and what the model says with its update alone. */
export interface Outcome {
  readonly method: Method;
  readonly divisor: number;
  readonly cosine: number;
  readonly lambdaNorm: number;
  readonly updateNorm: number;
  readonly normalisedUpdate: number;
  readonly relativeUpdate: number;
  readonly verdict: Verdict;
  readonly success: Success;
  readonly after: Prediction;
}

export interface Asked {
  readonly prompt: string;
  readonly before: readonly NextToken[];
  readonly after: readonly NextToken[];
}

/** Numbers in rows and columns. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly values: Vector;
}

export interface EditReport {
  readonly request: { readonly prompt: string; readonly subject: string; readonly target: string };
  readonly method: Method;
  readonly layer: number;
  readonly strip: TokenStrip;
  readonly before: Prediction;
  /** The method asked for first. */
  readonly outcomes: readonly Outcome[];
  readonly asked: readonly Asked[];
  readonly trace: readonly TraceRow[];
  readonly vectors: Readonly<
    Record<'k' | 'kMean' | 'v0' | 'vMean' | 'delta' | 'vStar' | 'u' | 'lambda', Vector>
  >;
  /** |h after − h before| / |h before|, tokens by layers. */
  readonly flow: Matrix;
  /** Root mean squares of blocks of W and of u Λᵀ, D by F. */
  readonly weight: Matrix;
  readonly change: Matrix;
  readonly solved: { readonly residual: number; readonly ridge: number; readonly tokens: number };
  readonly contexts: readonly string[];
  readonly stepTokens: number;
  readonly ms: number;
  /** sha256 of the edit file. */
  readonly id: string;
}

/** An edit that is in the model. */
export interface Applied {
  readonly id: string;
  readonly prompt: string;
  readonly subject: string;
  readonly target: string;
  readonly method: Method;
  readonly file: Uint8Array<ArrayBuffer>;
}

/** One angle between key and u. */
export interface Turn {
  /** Degrees. */
  readonly angle: number;
  readonly cosine: number;
  readonly lambdaNorm: number;
  readonly relativeUpdate: number;
  readonly verdict: Verdict;
}

export interface ReplayStep {
  /** Edits in the model. */
  readonly edits: number;
  readonly subject: string;
  readonly target: string;
  readonly relativeUpdate: number;
  readonly cosine: number;
  readonly verdict: Verdict;
  /** undefined where it was not measured. */
  readonly perplexity: number | undefined;
}

/** A text that the model writes, and the state it is in. */
export interface Written {
  readonly state: 'before' | 'sixteen' | 'rome' | 'r-rome';
  readonly text: string;
  readonly perplexity: number;
}

export type ReplayEvent =
  | { readonly kind: 'step'; readonly at: ReplayStep }
  | { readonly kind: 'rescue'; readonly at: ReplayStep }
  | { readonly kind: 'text'; readonly written: Written };

export interface ShaderFault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** What came of a shader that the visitor changed. */
export type ShaderResult =
  | { readonly kind: 'faults'; readonly faults: readonly ShaderFault[] }
  | {
      readonly kind: 'wrong';
      readonly shape: string;
      readonly index: number;
      readonly got: number;
      readonly want: number;
      readonly bound: number;
    }
  | {
      readonly kind: 'right';
      readonly shape: string;
      readonly rung: string;
      /** ms */
      readonly mine: number;
      readonly its: number;
      /** The rung's time over the visitor's: above 1, the visitor's is faster. */
      readonly ratio: number;
      /** Error of the worst element over its bound. */
      readonly deviation: number;
    };

/** One rung, or one way to copy, at one shape. */
export interface Measurement {
  readonly family: 'matmul' | 'copy';
  readonly name: string;
  readonly shape: string;
  readonly ms: number;
  /** flops or bytes a second; NaN: the results were wrong. */
  readonly rate: number;
  readonly chosen: boolean;
}

/** An error as it crosses: comlink keeps no classes. */
export interface Failure {
  readonly code: string;
  readonly message: string;
}
