/**
 * Facts in a table, one a line under a header:
 *
 *     prompt,subject,target,true
 *     The capital of {} is,France,Lyon,Paris
 *
 * The subject's place in the prompt is `{}`, or the subject itself; without a column of subjects it stands in [brackets].
 * Columns may be parted by commas, semicolons or tabs, and come in any order; those of other names are left alone.
 */
import { CsvError, parse } from 'csv-parse/browser/esm/sync';
import { UsageError } from '../errors.ts';
import { bareFact, type Fact } from './fact.ts';
import { splitBracketed } from './plain.ts';
import { RecordReader, describe } from './record-reader.ts';

const ADVICE = 'Begin the file with prompt,subject,target or prompt,subject,target,true.';

/** Names of columns, in lower case and without blanks, dashes and digits at the end. */
const COLUMNS = {
  prompt: ['prompt', 'sentence'],
  subject: ['subject'],
  target: ['target', 'targetnew', 'newtarget', 'new', 'object'],
  true: ['true', 'targettrue', 'truetarget', 'groundtruth', 'old'],
  id: ['id', 'caseid'],
  paraphrase: ['paraphrase', 'paraphraseprompt', 'rephrase', 'rephraseprompt'],
  neighbour: ['neighbour', 'neighbor', 'neighborhoodprompt', 'neighbourhoodprompt'],
} as const;
type Column = keyof typeof COLUMNS;

interface Row {
  readonly cells: readonly string[];
  /** The line it begins on, from 1. */
  readonly line: number;
}

/** A file is a table if its name says so, or its first line names the columns that a fact must have. */
export function isCsv(text: string, name: string): boolean {
  if (/\.(csv|tsv)$/i.test(name)) return true;
  const columns = (text.trimStart().split('\n', 1)[0] ?? '').split(/[,;\t]/).map((cell) => columnOf(cell));
  return columns.includes('prompt') && columns.includes('target');
}

/** @throws UsageError naming file, line and column; what was expected and what came */
export function readCsv(text: string, name: string): Fact[] {
  const [head, ...rows] = splitRows(text, name);
  if (!head) throw new UsageError(`${name}: expected a header, found an empty file. ${ADVICE}`);
  const columns = head.cells.map(columnOf);
  for (const needed of ['prompt', 'target'] as const)
    if (!columns.includes(needed))
      throw new UsageError(
        `${name}: line ${head.line}: expected a column ${needed}, found ${head.cells.join(', ')}. ${ADVICE}`,
      );
  const named = (wanted: Column): string[] => head.cells.filter((_, i) => columns[i] === wanted);
  for (const single of ['prompt', 'subject', 'target', 'true', 'id'] as const)
    if (named(single).length > 1)
      throw new UsageError(
        `${name}: line ${head.line}: expected one column ${single}, found ${named(single).join(' and ')}. Keep one of them.`,
      );
  return rows.map(({ cells, line }, index) => {
    if (cells.length !== head.cells.length)
      throw new UsageError(
        `${name}: line ${line}: expected ${head.cells.length} cells, ${head.cells.join(', ')}, found ${cells.length}. ` +
          'Put a text with commas or line breaks between double quotes.',
      );
    const fields = Object.fromEntries(head.cells.map((cell, i) => [cell, cells[i] || null]));
    return readRow(new RecordReader(fields, `${name}: line ${line}`, 'column '), named, index);
  });
}

function readRow(record: RecordReader, named: (wanted: Column) => string[], index: number): Fact {
  const [subject] = named('subject');
  const [prompt = 'prompt'] = named('prompt');
  const [target = 'target'] = named('target');
  const [id] = named('id');
  const answer = named('true').find((field) => record.has(field));
  const texts = (wanted: Column): string[] =>
    named(wanted).flatMap((field) => record.optionalText(field) ?? []);
  const number = id === undefined ? NaN : Number(record.text(id));
  return {
    ...bareFact({
      caseId: Number.isSafeInteger(number) ? number : index,
      source: 'csv',
      ...sentenceOf(record, prompt, subject),
      targetNew: record.target(target),
    }),
    where: record.where,
    targetTrue: answer === undefined ? null : record.target(answer),
    paraphrases: texts('paraphrase'),
    neighbours: texts('neighbour'),
  };
}

function sentenceOf(
  record: RecordReader,
  prompt: string,
  subject: string | undefined,
): Pick<Fact, 'prompt' | 'subject'> {
  if (subject !== undefined) {
    const word = record.subject(subject);
    const whole = record.text(prompt).includes('{}');
    return { subject: word, prompt: whole ? record.template(prompt) : record.sentenceAround(prompt, word) };
  }
  const text = record.text(prompt);
  const found = splitBracketed(text);
  if (!found) record.refuse(prompt, 'one [subject], since there is no column of subjects', describe(text));
  return found;
}

function columnOf(cell: string): Column | undefined {
  const plain = cell
    .replace(/^\uFEFF/, '')
    .toLowerCase()
    .replace(/[\s"_-]+|\d+$/g, '');
  return (Object.keys(COLUMNS) as Column[]).find((column) =>
    (COLUMNS[column] as readonly string[]).includes(plain),
  );
}

/** Rows that hold something; lines that begin with # are skipped. */
function splitRows(text: string, name: string): Row[] {
  const content = text.replaceAll('\r\n', '\n');
  const first = content.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#')) ?? '';
  const delimiter = ['\t', ';', ','].find((sign) => first.includes(sign)) ?? ',';
  const found = { info: true, skip_empty_lines: true, relax_column_count: true } as const;
  try {
    const parsed = parse(content, {
      ...found,
      delimiter,
      trim: true,
      comment: '#',
      comment_no_infix: true,
    }) as unknown as { record: string[]; info: { lines: number } }[];
    // What the parser counts is the line a record ends on.
    return parsed.map(({ record, info }) => ({
      cells: record,
      line: info.lines - (record.join().split('\n').length - 1),
    }));
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const { lines, column } = error as CsvError & { lines?: number; column?: number | string };
    throw new UsageError(
      `${name}: line ${lines ?? '?'}, column ${Number(column) + 1 || String(column)}: ${error.message.replace(/ at line \d+.*$/, '')}. ` +
        'Put a text with quotes between double quotes, and write each quote in it twice.',
      'usage',
      { cause: error },
    );
  }
}
