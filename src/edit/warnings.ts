/** What works, but not as its author may think: of a request as it is written, and of its tokens. */
import type { Tokenizer } from '../models/tokenizer.ts';
import type { EditRequest } from './request.ts';
import { show } from './template.ts';

/** Something that works, but not as its author may think. */
export interface Warning {
  readonly code:
    | 'subject_first'
    | 'subject_spaces'
    | 'subject_straddled'
    | 'prompt_ends_blank'
    | 'target_tokens'
    | 'target_spaces'
    | 'target_splits_character'
    | 'retokenised';
  readonly message: string;
}

/** What tokenising a request showed. */
export interface TokenFindings {
  readonly targetIds: readonly number[];
  /** All target ids but the last, as text. */
  readonly given: string;
  /** The contexts in which prompt and target written as one text have other tokens. */
  readonly differs: readonly number[];
  /** In some context the subject's last token also holds what follows it. */
  readonly straddled: boolean;
}

export function warningsOf(tokenizer: Tokenizer, request: EditRequest, found: TokenFindings): Warning[] {
  const warnings = requestWarnings(request);
  if (found.straddled)
    warnings.push({
      code: 'subject_straddled',
      message: `the last token of the subject "${request.subject}" also holds the character after it: both are edited together.`,
    });
  return [...warnings, ...targetWarnings(tokenizer, found)];
}

/** What is unusual about a request before any token is known. */
export function requestWarnings({ prompt, subject, target }: EditRequest): Warning[] {
  const all: readonly (Warning & { readonly applies: boolean })[] = [
    {
      code: 'subject_first',
      applies: prompt.startsWith('{}'),
      message:
        'the subject is the very first token: it is written without a blank there, so its key differs from the keys ' +
        'in all contexts. ROME may disable the model on such prompts, and r-ROME may fail to make the edit.',
    },
    {
      code: 'subject_spaces',
      applies: subject !== subject.trim(),
      message: `the subject ${show(subject)} has blanks around it.`,
    },
    {
      code: 'prompt_ends_blank',
      applies: /\s$/.test(prompt),
      message: `the prompt ${show(prompt)} ends in a blank, and the target brings its own: two will stand there.`,
    },
    {
      code: 'target_spaces',
      applies: target !== target.trim(),
      message: `the target ${show(target)} has blanks around it.`,
    },
  ];
  return all.flatMap(({ applies, ...warning }) => (applies ? [warning] : []));
}

function targetWarnings(tokenizer: Tokenizer, { targetIds, given, differs }: TokenFindings): Warning[] {
  const warnings: Warning[] = [];
  const n = targetIds.length;
  if (n > 1) {
    const pieces = targetIds.map((id) => JSON.stringify(tokenizer.token(id))).join(' ');
    warnings.push({
      code: 'target_tokens',
      message: `the target has ${n} tokens, ${pieces}: probabilities are per token.`,
    });
  }
  if (given.endsWith('\uFFFD')) {
    warnings.push({
      code: 'target_splits_character',
      message: 'the last token of the target begins inside a character: its ids are used as they are.',
    });
  } else if (differs.length > 0) {
    warnings.push({
      code: 'retokenised',
      message: `prompt and target written as one text have other tokens (contexts ${differs.join(', ')}); the target's own ids are used.`,
    });
  }
  return warnings;
}
