/** What the reference found for sequences and for single edits. */
import type { Method } from '../src/edit/method.ts';
import { readJson } from './tokenizers.ts';

export interface GoldenRecord {
  case_id: number;
  requested_rewrite: {
    prompt: string;
    subject: string;
    target_new: { str: string };
    target_true: { str: string };
  };
}

export interface GoldenLine {
  case_id: number;
  update_norm: number;
  divisor: number;
  total_norm: number;
  nll: [number, number];
  perplexity?: number;
}

/** One edit after another, of each method 100. */
export const goldenSequence = readJson('test/golden/fixtures/sequence.json') as {
  weight_norm: number;
  elements: number;
  records: GoldenRecord[];
  lines: Record<'rome' | 'r-rome', GoldenLine[]>;
};

/** Mean NLLs [of target_new, of target_true], prompt by prompt. */
export type GoldenScores = Record<'rewrite' | 'paraphrase' | 'neighborhood', [number[], number[]]>;

export interface GoldenUpdate {
  scores: GoldenScores;
  update_norm: number;
  divisor: number;
}

/** 40 single edits by all methods. */
export const goldenEvaluation = readJson('test/golden/fixtures/evaluate.json') as {
  summary: Record<Method, Record<'ES' | 'PS' | 'NS', number>>;
  records: GoldenRecord[];
  results: ({ case_id: number; before: GoldenScores } & Record<Method, GoldenUpdate>)[];
};
