import { UsageError } from '../errors.ts';
import { jsonFrom } from '../json.ts';
import { isCsv, readCsv } from './csv.ts';
import type { Fact } from './fact.ts';
import { LAYOUTS } from './layouts.ts';
import { readPlain } from './plain.ts';
import { RecordReader, describe } from './record-reader.ts';

/** CounterFact, the largest published file, has about one million. */
const MOST_VALUES = 4_000_000;

interface Placed {
  readonly value: unknown;
  readonly where: string;
}

/**
 * Reads a data file of any known layout: a JSON array, JSONL, CSV, or plain lines. Every record is checked.
 *
 * @param text  the file's content
 * @param name  the file's name, for messages
 * @throws UsageError naming file, record (from 0) or line (from 1), and field or column; what was expected and what came
 */
export function readFacts(text: string, name: string): Fact[] {
  const content = text.replace(/^\uFEFF/, '');
  const first = content.trimStart().charAt(0);
  const facts = isCsv(content, name)
    ? readCsv(content, name)
    : first === '"' || first === '#'
      ? readPlain(content, name)
      : readRecords(content, name, first);
  if (facts.length === 0) throw new UsageError(`${name}: expected at least one record, found none.`);
  return facts;
}

function readRecords(content: string, name: string, first: string): Fact[] {
  if (first !== '[' && first !== '{') {
    const found = first === '' ? 'an empty file' : describe(content.trimStart().slice(0, 40));
    throw new UsageError(
      `${name}: expected a JSON array, JSONL, CSV that begins with prompt,subject,target, or lines of "prompt with [subject]" => "target", found ${found}.`,
    );
  }
  const records = first === '[' ? splitArray(content, name) : splitLines(content, name);
  const [head] = records;
  if (head === undefined) return [];
  const { read } = detect(head);
  return records.map(({ value, where }, index) => ({
    ...read(new RecordReader(value, where), index),
    where,
  }));
}

/** The first record decides for the file: a record of another layout is an error, not a second guess. */
function detect({ value, where }: Placed): (typeof LAYOUTS)[number] {
  const record = new RecordReader(value, where);
  const found = LAYOUTS.find(({ fields }) => fields.every((field) => record.has(field)));
  if (found !== undefined) return found;
  const known = LAYOUTS.map(({ layout, fields }) => `${layout} (${fields.join(', ')})`).join('; ');
  const fields = describe(typeof value === 'object' && value !== null ? Object.keys(value) : value);
  throw new UsageError(`${where}: expected the fields of a known layout, ${known}; found ${fields}.`);
}

function splitArray(content: string, name: string): Placed[] {
  const list = parse(content, name);
  if (!Array.isArray(list)) throw new UsageError(`${name}: expected an array, found ${describe(list)}.`);
  return list.map((value: unknown, index) => ({ value, where: `${name}: record ${index}` }));
}

function splitLines(content: string, name: string): Placed[] {
  const lines = content.split('\n').map((line, n) => ({ line, n: n + 1 }));
  const filled = lines.filter(({ line }) => line.trim() !== '');
  return filled.map(({ line, n }, index) => {
    const where = `${name}: line ${n}, record ${index}`;
    return { value: parse(line, where), where };
  });
}

function parse(text: string, where: string): unknown {
  const fault = (found: string, cause: unknown): UsageError =>
    new UsageError(`${where}: expected JSON, found ${found}. Is the file complete?`, 'usage', { cause });
  return jsonFrom(text, fault, { values: MOST_VALUES });
}
