import { bareFact, type Fact } from './fact.ts';
import type { RecordReader } from './record.ts';

/**
 * A flat record as EasyEdit's users share them: the subject is written out in the prompt, one paraphrase, one prompt
 * nearby. That prompt counts as a neighbour when its answer is the true object, as in records made from CounterFact.
 *
 * @see zjunlp/EasyEdit, data of its CounterFact and zsRE examples
 */
export function readEasyEdit(record: RecordReader, index: number): Fact {
  const subject = record.subject('subject');
  const targetTrue = record.has('ground_truth') ? record.target('ground_truth') : null;
  const paraphrase = record.optionalText('rephrase_prompt');
  const nearby = record.optionalText('locality_prompt');
  const answer = nearby === null ? null : record.target('locality_ground_truth');
  return {
    ...bareFact({
      caseId: record.integer('case_id', index),
      source: 'easyedit',
      prompt: record.sentenceAround('prompt', subject),
      subject,
      targetNew: record.target('target_new'),
    }),
    targetTrue,
    paraphrases: paraphrase === null ? [] : [paraphrase],
    neighbours: nearby !== null && answer === targetTrue ? [nearby] : [],
    locality: nearby === null || answer === null ? null : { prompt: nearby, answer },
  };
}

/**
 * A record of FastEdit: `{prompt with {}, subject, target, queries}`; the queries ask the same in other words.
 *
 * @see hiyouga/FastEdit
 */
export function readFastEdit(record: RecordReader, index: number): Fact {
  return {
    ...bareFact({
      caseId: record.integer('case_id', index),
      source: 'fastedit',
      prompt: record.template('prompt'),
      subject: record.subject('subject'),
      targetNew: record.target('target'),
    }),
    paraphrases: record.texts('queries'),
  };
}
