/** What `evaluate` and `sequence` share: a model to edit, its solver and contexts, and the facts of a data file. */
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import type { EditOptions } from '../src/edit/edit.ts';
import { THRESHOLDS } from '../src/edit/guard.ts';
import type { Thresholds } from '../src/edit/guard.ts';
import { UsageError } from '../src/errors.ts';
import type { Run } from './command.ts';
import { readData } from './files.ts';
import { withEditing } from './edit-options.ts';
import type { EditArguments } from './edit-options.ts';
import { number, text } from './flags.ts';
import type { ModelArguments, Session } from './session.ts';

const SHARE = { min: 0 } as const;

/** Flags of both commands, beside those of an edit. */
export const LAB_FLAGS = {
  from: number('--from', 'the first record, from 0 [default: 0]', { integer: true, min: 0 }),
  count: number('--count', 'records [default: all]', { integer: true, min: 1 }),
  'suspect-cosine': number(
    '--suspect-cosine',
    `|k · u| / (|k| |u|) below it is suspect [default: ${THRESHOLDS.suspectCosine}]`,
    SHARE,
  ),
  'disabling-cosine': number(
    '--disabling-cosine',
    `and below it disabling [default: ${THRESHOLDS.disablingCosine}]`,
    SHARE,
  ),
  'suspect-update': number(
    '--suspect-update',
    `|u lambda^T| / |W| above it is suspect [default: ${THRESHOLDS.suspectUpdate}]`,
    SHARE,
  ),
  'disabling-update': number(
    '--disabling-update',
    `and above it disabling [default: ${THRESHOLDS.disablingUpdate}]`,
    SHARE,
  ),
  'text-tokens': number('--text-tokens', 'tokens of a generated text, its prompt included; 0 for none', {
    integer: true,
    min: 0,
  }),
} as const;

export interface LabArguments extends EditArguments, ModelArguments {
  readonly data?: string | undefined;
  readonly from?: number | undefined;
  readonly count?: number | undefined;
  readonly suspectCosine?: number | undefined;
  readonly disablingCosine?: number | undefined;
  readonly suspectUpdate?: number | undefined;
  readonly disablingUpdate?: number | undefined;
  readonly textTokens?: number | undefined;
}

/** The data file as a positional. */
export const DATA = text(
  'data',
  'CounterFact, zsRE, EasyEdit, FastEdit, CSV (prompt,subject,target,true) or plain lines [default: CounterFact]',
);

export interface Lab {
  readonly session: Session;
  readonly edit: Omit<EditOptions, 'methods' | 'signal'>;
  /** Seed that the contexts were sampled with; undefined for those of a file. */
  readonly contextsSeed: number | undefined;
  /** Where C comes from, in words. */
  readonly covariance: string;
  readonly thresholds: Thresholds;
  readonly seed: number;
}

/** @throws UsageError for an unreadable file, or a range without records; before a model is loaded */
export async function factsFrom({
  data,
  from = 0,
  count,
}: LabArguments): Promise<{ facts: Fact[]; name: string }> {
  const { text: content, name } = await readData('data', data, 'counterfact.json');
  const all = readFacts(content, name);
  const facts = all.slice(from, count === undefined ? undefined : from + count);
  if (facts.length === 0)
    throw new UsageError(`--from: expected a record of the ${all.length} of ${name}, found ${from}.`);
  return { facts, name };
}

/** Opens everything that edits need, runs `use`, and gives it back. */
export function withLab<T>(args: LabArguments, run: Run, use: (lab: Lab) => Promise<T>): Promise<T> {
  return withEditing(args, run, ({ session, options, solverTitle, ...seeds }) =>
    use({ session, edit: options, covariance: solverTitle, thresholds: thresholdsFrom(args), ...seeds }),
  );
}

function thresholdsFrom(args: LabArguments): Thresholds {
  return {
    suspectCosine: args.suspectCosine ?? THRESHOLDS.suspectCosine,
    disablingCosine: args.disablingCosine ?? THRESHOLDS.disablingCosine,
    suspectUpdate: args.suspectUpdate ?? THRESHOLDS.suspectUpdate,
    disablingUpdate: args.disablingUpdate ?? THRESHOLDS.disablingUpdate,
  };
}
