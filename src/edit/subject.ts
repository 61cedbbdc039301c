import type { Tokenizer } from '../models/tokenizer.ts';
import { fill, type Template } from './template.ts';

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
