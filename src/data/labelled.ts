/** Sentences with a class, as GLUE's validation sets have them: what downstream tasks ask. */
import { UsageError } from '../errors.ts';
import { jsonFrom } from '../json.ts';
import { RecordReader, describe } from './record-reader.ts';

export interface Labelled {
  /** One sentence, or two. */
  readonly texts: readonly string[];
  readonly label: number;
}

/** Classes that are written as words, in NLI's files. */
const WORDS: Readonly<Record<string, number>> = { entailment: 0, not_entailment: 1 };

/**
 * Reads a JSON array of records with `label` and either `sentence` or `sentence1` and `sentence2`.
 *
 * @param text the file's content
 * @param name the file's name, for messages
 * @throws UsageError naming file, record and field
 */
export function readLabelled(text: string, name: string): Labelled[] {
  const list = jsonFrom(
    text.replace(/^\uFEFF/, ''),
    (found, cause) => new UsageError(`${name}: expected JSON, found ${found}.`, 'usage', { cause }),
  );
  if (!Array.isArray(list)) throw new UsageError(`${name}: expected an array, found ${describe(list)}.`);
  return list.map((value: unknown, i) => {
    const record = new RecordReader(value, `${name}: record ${i}`);
    const fields = record.has('sentence') ? ['sentence'] : ['sentence1', 'sentence2'];
    return { texts: fields.map((field) => record.text(field)), label: readLabel(record, value) };
  });
}

function readLabel(record: RecordReader, value: unknown): number {
  const { label } = value as { label?: unknown };
  if (typeof label === 'string' && Object.hasOwn(WORDS, label)) return WORDS[label] as number;
  if (typeof label === 'number' && Number.isInteger(label) && label >= 0) return label;
  return record.refuse('label', `a whole number or ${Object.keys(WORDS).join(', ')}`, describe(label));
}
