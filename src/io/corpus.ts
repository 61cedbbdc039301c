/**
 * The text that a covariance is built from: any number of files of any size, read as a stream of documents.
 *
 *   .jsonl, .ndjson    a line is a JSON object, its `text` a document
 *   every other file   a line is a document
 *
 * Lines end with LF or CRLF, the last one also with the file. Documents of nothing but white space are left out and
 * counted. Bytes that are no UTF-8 become U+FFFD, and the documents that have some are counted. Of a line of text
 * only the first 16 MiB are kept: the model reads no further than its context window anyway.
 */
import { isUtf8 } from 'node:buffer';
import { open, stat } from 'node:fs/promises';
import * as v from 'valibot';
import { UsageError } from '../errors.ts';
import { isRecord, jsonFrom } from '../json.ts';
import type { CorpusFile } from './corpus-files.ts';
import { linesOf } from './lines.ts';

export const COUNT = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** A place between two documents, and what has been met before it: all that is needed to go on from there. */
export const POSITION = v.object({
  file: COUNT,
  /** Bytes of that file before this place. */
  offset: COUNT,
  /** Lines of that file before this place. */
  line: COUNT,
  /** Documents before this place, in all files; empty ones are not counted. */
  documents: COUNT,
  /** Empty documents before this place. */
  empty: COUNT,
  /** Documents before this place that had bytes which are no UTF-8. */
  invalid: COUNT,
});
export type CorpusPosition = Readonly<v.InferOutput<typeof POSITION>>;

const CORPUS_START: CorpusPosition = { file: 0, offset: 0, line: 0, documents: 0, empty: 0, invalid: 0 };

export interface CorpusDocument {
  readonly text: string;
  /** Its number from 0, empty ones not counted. */
  readonly index: number;
  readonly next: CorpusPosition;
}

const KEEP_BYTES = 16 * 2 ** 20;
/** A line of JSON must be whole; a longer one would not fit into a string together with what is parsed of it. */
const MAX_JSON_BYTES = 192 * 2 ** 20;

/**
 * All documents of the files from a place on.
 *
 * @throws UsageError naming file and line: a line that is not JSON, or has no `text`; a file that changed since it was hashed
 */
export async function* documents(
  files: readonly CorpusFile[],
  from: CorpusPosition = CORPUS_START,
): AsyncGenerator<CorpusDocument, void, void> {
  let { documents: index, empty, invalid } = from;
  for (let i = from.file; i < files.length; i += 1) {
    const file = files[i] as CorpusFile;
    const start = i === from.file ? from : CORPUS_START;
    for await (const line of lines(file, start.offset, start.line)) {
      const valid = isUtf8(line.bytes);
      const text = file.format === 'jsonl' ? textField(file, line) : decode(line);
      if (text.trim() === '') {
        empty += 1;
        continue;
      }
      if (!valid) invalid += 1;
      index += 1;
      const { end: offset, number } = line;
      const next = { file: i, offset, line: number, documents: index, empty, invalid };
      yield { text, index: index - 1, next };
    }
  }
}

interface Line {
  /** Without its end, cut to what is kept. */
  readonly bytes: Uint8Array;
  /** Counted from 1. */
  readonly number: number;
  /** Bytes of the file up to and including the line's end. */
  readonly end: number;
}

/** The lines of a file from a byte and a line number on. */
async function* lines(file: CorpusFile, offset: number, before: number): AsyncGenerator<Line, void, void> {
  const handle = await open(file.path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `corpus ${file.path}: expected a readable file, it cannot be opened (${error.code}).`,
    );
  });
  let number = before;
  const tooLong = (): UsageError =>
    new UsageError(
      `corpus ${file.path}: line ${number + 1}: expected at most ${MAX_JSON_BYTES / 2 ** 20} MiB of JSON, it is longer. Split the document.`,
      'bad_corpus',
    );
  const [keep, bound] = file.format === 'jsonl' ? [MAX_JSON_BYTES, tooLong] : [KEEP_BYTES];
  try {
    await checkUnchanged(file);
    for await (const { bytes, end } of linesOf(handle, offset, keep, bound)) {
      number += 1;
      yield { bytes: bytes.length === keep ? wholeCharacters(bytes) : withoutReturn(bytes), number, end };
    }
  } finally {
    await handle.close();
  }
}

function withoutReturn(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === 13 ? bytes.subarray(0, -1) : bytes;
}

/** Without a character that the cut went through. */
function wholeCharacters(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > bytes.length - 4 && ((bytes[end - 1] as number) & 0xc0) === 0x80) end -= 1;
  return ((bytes[end - 1] as number) & 0xc0) === 0xc0 ? bytes.subarray(0, end - 1) : bytes;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** A byte order mark belongs to the file, not to its first document. */
function decode({ bytes, number }: Line): string {
  const text = utf8.decode(bytes);
  return number === 1 && text.startsWith('\uFEFF') ? text.slice(1) : text;
}

function textField(file: CorpusFile, line: Line): string {
  const source = decode(line);
  if (source.trim() === '') return '';
  const fault = (what: string): UsageError =>
    new UsageError(
      `corpus ${file.path}: line ${line.number}: expected a JSON object with a string "text", ${what}. Correct or delete the line.`,
      'bad_corpus',
    );
  const value = jsonFrom(source, (found) => fault(`it is not JSON (${found})`));
  if (!isRecord(value) || !('text' in value)) throw fault('it has none');
  if (typeof value.text !== 'string') throw fault(`"text" is ${JSON.stringify(value.text).slice(0, 40)}`);
  return value.text;
}

/** What was hashed is what must be read: else the sums would be filed under another text's name. */
async function checkUnchanged(file: CorpusFile): Promise<void> {
  const { size, mtimeMs } = await stat(file.path);
  if (size === file.bytes && mtimeMs === file.mtimeMs) return;
  throw new UsageError(
    `corpus ${file.path}: expected the file as it was when the command began, but it was changed. Run the command again.`,
    'corpus_changed',
  );
}
