/** The layouts of published data sets: how a record of each is known, and read. */
import { bareFact, type Fact, type Layout } from './fact.ts';
import type { RecordReader } from './record-reader.ts';

/** Tried in this order; the first whose fields a record has is its layout. */
export const LAYOUTS: readonly {
  readonly layout: Layout;
  readonly fields: readonly string[];
  readonly read: (record: RecordReader, index: number) => Fact;
}[] = [
  { layout: 'counterfact', fields: ['requested_rewrite'], read: readCounterFact },
  { layout: 'zsre', fields: ['src', 'answers'], read: readZsre },
  { layout: 'easyedit', fields: ['prompt', 'subject', 'target_new'], read: readEasyEdit },
  { layout: 'fastedit', fields: ['prompt', 'subject', 'target'], read: readFastEdit },
];

/**
 * A record of CounterFact: a false object for a true fact, with prompts that shall follow and prompts that shall not.
 *
 * @see Meng et al. 2022, section 3.3 and appendix D
 */
function readCounterFact(record: RecordReader, index: number): Fact {
  const rewrite = record.object('requested_rewrite');
  const targetNew = rewrite.object('target_new');
  return {
    caseId: record.integer('case_id', index),
    source: 'counterfact',
    prompt: rewrite.template('prompt'),
    subject: rewrite.subject('subject'),
    targetNew: targetNew.target('str'),
    targetTrue: rewrite.object('target_true').target('str'),
    paraphrases: record.prompts('paraphrase_prompts'),
    neighbours: record.prompts('neighborhood_prompts'),
    generationPrompts: record.prompts('generation_prompts'),
    locality: null,
    relationId: rewrite.optionalText('relation_id'),
    targetNewId: targetNew.optionalText('id'),
  };
}

/**
 * A record of zsRE in MEND's layout: a question about a subject, the same question in other words, and a question of
 * Natural Questions that shall keep its answer.
 *
 * Read as ROME's authors read it: the first of `answers` is written (`alt`, which EasyEdit writes, is not used), and
 * `loc` gets the question mark it lacks. They put `<|endoftext|>` in place of a true object; here there is none.
 *
 * @see Levy et al. 2017; Mitchell et al. 2022; kmeng01/rome `dsets/zsre.py`
 */
function readZsre(record: RecordReader, index: number): Fact {
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

/**
 * A flat record as EasyEdit's users share them: the subject is written out in the prompt, one paraphrase, one prompt
 * nearby. That prompt counts as a neighbour when its answer is the true object, as in records made from CounterFact.
 * A request to ROME's or MEMIT's code has the same fields: `{}` in its prompt, its objects as `{ str }`.
 *
 * @see zjunlp/EasyEdit, data of its CounterFact and zsRE examples; kmeng01/rome `notebooks/rome.ipynb`
 */
function readEasyEdit(record: RecordReader, index: number): Fact {
  const subject = record.subject('subject');
  const whole = (field: string) => (record.has(field) ? record.wrapped(field) : null);
  const targetTrue = whole('ground_truth') ?? whole('target_true');
  const paraphrase = record.optionalText('rephrase_prompt');
  const nearby = record.optionalText('locality_prompt');
  const answer = nearby === null ? null : record.target('locality_ground_truth');
  return {
    ...bareFact({
      caseId: record.integer('case_id', index),
      source: 'easyedit',
      prompt: record.text('prompt').includes('{}')
        ? record.template('prompt')
        : record.sentenceAround('prompt', subject),
      subject,
      targetNew: record.wrapped('target_new'),
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
function readFastEdit(record: RecordReader, index: number): Fact {
  return {
    ...bareFact({
      caseId: record.integer('case_id', index),
      source: 'fastedit',
      prompt: record.template('prompt'),
      subject: record.subject('subject'),
      targetNew: record.target('target'),
    }),
    paraphrases: record.prompts('queries'),
  };
}
