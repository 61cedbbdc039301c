import type { Fact } from './fact.ts';
import type { RecordReader } from './record.ts';

/**
 * A record of CounterFact: a false object for a true fact, with prompts that shall follow and prompts that shall not.
 *
 * @see Meng et al. 2022, section 3.3 and appendix D
 */
export function readCounterFact(record: RecordReader, index: number): Fact {
  const rewrite = record.object('requested_rewrite');
  const targetNew = rewrite.object('target_new');
  return {
    caseId: record.integer('case_id', index),
    source: 'counterfact',
    prompt: rewrite.template('prompt'),
    subject: rewrite.subject('subject'),
    targetNew: targetNew.target('str'),
    targetTrue: rewrite.object('target_true').target('str'),
    paraphrases: record.texts('paraphrase_prompts'),
    neighbours: record.texts('neighborhood_prompts'),
    generationPrompts: record.texts('generation_prompts'),
    attributePrompts: record.texts('attribute_prompts'),
    locality: null,
    relationId: rewrite.optionalText('relation_id'),
    targetNewId: targetNew.optionalText('id'),
  };
}
