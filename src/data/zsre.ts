import { bareFact, type Fact } from './fact.ts';
import type { RecordReader } from './record.ts';

/**
 * A record of zsRE in MEND's layout: a question about a subject, the same question in other words, and a question of
 * Natural Questions that shall keep its answer.
 *
 * Read as ROME's authors read it: the first of `answers` is written (`alt`, which EasyEdit writes, is not used), and
 * `loc` gets the question mark it lacks. They put `<|endoftext|>` in place of a true object; here there is none.
 *
 * @see Levy et al. 2017; Mitchell et al. 2022; kmeng01/rome `dsets/zsre.py`
 */
export function readZsre(record: RecordReader, index: number): Fact {
  const subject = record.subject('subject');
  const answers = record.texts('answers');
  if (answers[0] === undefined || answers[0].trim() === '') {
    record.refuse('answers', 'an array with an answer', JSON.stringify(answers));
  }
  return {
    ...bareFact({
      caseId: record.integer('case_id', index),
      source: 'zsre',
      prompt: record.sentenceAround('src', subject),
      subject,
      targetNew: answers[0].replace(/^ /, ''),
    }),
    paraphrases: [record.text('rephrase')],
    locality: { prompt: `${record.text('loc')}?`, answer: record.target('loc_ans') },
  };
}
