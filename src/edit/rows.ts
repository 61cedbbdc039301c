import type { ContextLimit } from '../models/architecture.ts';
import type { Tokenizer } from '../models/tokenizer.ts';
import { checkLength, targetText, type EditRequest } from './request.ts';
import { fill, nest, readTemplate, sentence, type Template } from './template.ts';
import { warningsOf, type Warning } from './warnings.ts';

/** A text as the model reads it, and the token of it where the edit reads its key and writes its value. */
export interface Lookup {
  readonly ids: number[];
  /** Index into `ids` of the subject's last token. */
  readonly lookup: number;
  /** True when that token also spells what follows the subject ("Paris" in "Parisian"). */
  readonly straddled: boolean;
}

/**
 * Finds the subject's last token: the last token that overlaps the subject's bytes when the whole text is tokenised.
 *
 * The published rule counts the tokens of prefix and " subject" apart, and stops when no blank stands before the
 * subject. Wherever that count is right, both agree; here a quote, a line break or a suffix glued to the subject are
 * right too. Blanks around the subject do not count as part of it.
 *
 * @see Meng et al. 2022, "the last token of the subject"; kmeng01/rome `get_words_idxs_in_templates`
 */
export function lookupSubject(tokenizer: Tokenizer, template: Template, subject: string): Lookup {
  const { ids, ends } = tokenizer.encodeWithSpans(fill(template, subject));
  // Both in bytes of the normalised text. The first token that reaches the subject's end holds its last byte.
  const subjectEnd = tokenizer.encodeWithSpans(template.before + subject.trimEnd()).ends.at(-1) ?? 0;
  const lookup = ends.findIndex((end) => end >= subjectEnd);
  return { ids, lookup, straddled: (ends[lookup] ?? 0) > subjectEnd };
}

/** One context with prompt and subject in it, and the target appended: a row of the batch that optimises v*. */
export interface RewriteRow {
  /** Ids of the text, then all target ids but the last. */
  readonly ids: number[];
  /** How many of them are the text without target: what the keys k_j are read from. */
  readonly promptLength: number;
  /** Index of the subject's last token. */
  readonly lookup: number;
  /** [n] positions whose logits predict the n target ids: promptLength - 1 onwards. */
  readonly targets: number[];
}

/** The batch of one edit in plain numbers. */
export interface EditRows {
  /** [n] ids of " target". */
  readonly targetIds: number[];
  /** One a context, in order; the first is the bare prompt. */
  readonly rewrites: readonly RewriteRow[];
  /**
   * "{subject} is a": what else the model says of the subject must stay. The divergence is read at `lookup`, and
   * attention is causal, so `ids.slice(0, lookup + 1)` gives the same number.
   */
  readonly klRow: { readonly ids: number[]; readonly lookup: number };
  readonly warnings: readonly Warning[];
}

const KL_PROMPT: Template = { before: '', after: ' is a' };

/**
 * Tokenises a request in all its contexts.
 *
 * Target ids are those that follow the bare prompt, in every context. (The published code decodes all but the last and
 * tokenises again, which is the same for words and miscounts where a target splits a character; a warning says so.)
 *
 * @param contexts  templates of a prompt; the first is `{}`
 * @param window    how long a row may be: the sizes of the model
 * @throws UsageError when a row exceeds the window, naming the context, or the prompt's tokens change before the target
 * @see Meng et al. 2022, section 3.1, step 2; kmeng01/rome `compute_v`
 */
export function editRows(
  tokenizer: Tokenizer,
  request: EditRequest,
  contexts: readonly string[],
  window: ContextLimit,
): EditRows {
  const prompt = readTemplate(request.prompt, 'prompt', 'Write {} where the subject goes, once.');
  const targetIds = tokenizer.encodeTarget(sentence(request), request.target).target;
  const n = targetIds.length;
  checkLength('target', n, window);
  const givenIds = targetIds.slice(0, -1);
  const given = tokenizer.decodeAfter(givenIds);

  const differs: number[] = [];
  let straddled = false;
  const rewrites = contexts.map((context, j) => {
    const template = nest(readTemplate(context, `context ${j}`, 'Write {} where the prompt goes.'), prompt);
    const found = lookupSubject(tokenizer, template, request.subject);
    const row = rewriteRow(found, givenIds, n);
    checkLength(describeRow(j, found, givenIds), row.ids.length, window);
    // Of one token, the target itself is looked at: it may begin otherwise in another context.
    const [next, ids] = n === 1 ? [targetText(request), [...row.ids, ...targetIds]] : [given, row.ids];
    const together = tokenizer.encode(fill(template, request.subject) + next);
    if (together.length !== ids.length || together.some((id, i) => id !== ids[i])) differs.push(j);
    straddled ||= found.straddled;
    return row;
  });

  const { ids, lookup } = lookupSubject(tokenizer, KL_PROMPT, request.subject);
  checkLength('"{} is a" with the subject', ids.length, window);
  const warnings = warningsOf(tokenizer, request, { targetIds, given, differs, straddled });
  return { targetIds, rewrites, klRow: { ids, lookup }, warnings };
}

function rewriteRow(found: Lookup, givenIds: readonly number[], n: number): RewriteRow {
  const promptLength = found.ids.length;
  return {
    ids: [...found.ids, ...givenIds],
    promptLength,
    lookup: found.lookup,
    targets: Array.from({ length: n }, (_, t) => promptLength - 1 + t),
  };
}

function describeRow(j: number, found: Lookup, givenIds: readonly number[]): string {
  const name = j === 0 ? 'the prompt' : `context ${j} with the prompt`;
  const given = givenIds.length === 0 ? '' : ` and the target but its last token (${givenIds.length})`;
  return `${name} (${found.ids.length} tokens)${given}`;
}
