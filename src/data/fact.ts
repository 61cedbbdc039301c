/** Record layouts in the wild. */
export type Layout = 'counterfact' | 'zsre' | 'easyedit' | 'fastedit' | 'csv' | 'plain';

/** One fact to edit and what to measure afterwards, whatever the file looked like. */
export interface Fact {
  /** The record's own number, or its place in the file, from 0. */
  readonly caseId: number;
  readonly source: Layout;
  /** File and record, for messages; absent in a fact that was not read from a file. */
  readonly where?: string;
  /** Exactly one `{}`, where the subject goes. */
  readonly prompt: string;
  readonly subject: string;
  /** The object to write, without the blank in front. */
  readonly targetNew: string;
  /** The object the model shall hold now; null where the record names none, and then ES, PS and NS are undefined. */
  readonly targetTrue: string | null;
  /** The same question in other words, subject filled in. */
  readonly paraphrases: readonly string[];
  /** Prompts on other subjects whose answer is `targetTrue` and shall stay. */
  readonly neighbours: readonly string[];
  /** Prompts to generate text from. */
  readonly generationPrompts: readonly string[];
  /** An unrelated prompt with its own answer, that the edit shall not touch. */
  readonly locality: { readonly prompt: string; readonly answer: string } | null;
  /** Wikidata relation of the fact, by which reference texts are found. */
  readonly relationId: string | null;
  /** Wikidata item of `targetNew`. */
  readonly targetNewId: string | null;
}

/** A fact of which the layout tells only the least. */
export function bareFact(least: Pick<Fact, 'caseId' | 'source' | 'prompt' | 'subject' | 'targetNew'>): Fact {
  return {
    ...least,
    targetTrue: null,
    paraphrases: [],
    neighbours: [],
    generationPrompts: [],
    locality: null,
    relationId: null,
    targetNewId: null,
  };
}
