/** An edit file wherever it lies: on a disk, or dropped onto a page. What is no edit file is told by its first bytes. */
import { UsageError } from '../errors.ts';
import { readSafetensors } from '../formats/safetensors.ts';
import { type ByteSource, FormatFault } from '../formats/source.ts';
import { type FactsRecord, holdsFacts, isFactsRecord, readFactsRecord, requestsOf } from './facts-record.ts';
import { type EditRecord, readRecord } from './record.ts';

/** @throws UsageError naming the file, and saying what it is instead of an edit or what is wrong with it */
export async function readAnyEditFile(source: ByteSource): Promise<EditRecord | FactsRecord> {
  const found = await kindOf(source);
  if (found !== undefined)
    throw new UsageError(
      `edit file ${source.name}: expected a file that palimpsest edit --out wrote, found ${found}.`,
      'bad_edit_file',
    );
  const file = await readSafetensors(source, UsageError);
  return holdsFacts(file) ? readFactsRecord(file) : readRecord(file);
}

/** A single edit. @throws UsageError as `readAnyEditFile`, and for a file of many facts */
export async function readEditFile(source: ByteSource): Promise<EditRecord> {
  const record = await readAnyEditFile(source);
  if (isFactsRecord(record))
    throw new UsageError(
      `edit file ${source.name}: expected a single edit, found ${requestsOf(record).length} facts in one file. palimpsest predict, generate and export take it with --edits.`,
      'bad_edit_file',
    );
  return record;
}

/** What a file is by its first bytes, and what to name instead; undefined for safetensors, and for what cannot be read. */
async function kindOf(source: ByteSource): Promise<string | undefined> {
  const bytes = await source.read(0, Math.min(9, source.size)).catch((error: unknown) => {
    if (error instanceof FormatFault) return undefined;
    throw error;
  });
  if (!bytes) return undefined;
  // safetensors begin with the length of a JSON header, whose brace is the ninth byte.
  if (bytes.length === 9 && bytes[8] === 0x7b && new DataView(bytes.buffer).getBigUint64(0, true) < 1n << 40n)
    return undefined;
  const text = new TextDecoder('latin1').decode(bytes);
  const [, folder, file] = /^(.*?)[\\/]?([^\\/]*)$/s.exec(source.name) ?? [];
  if (file === 'run.jsonl') return `the journal of a sequence. Name its folder: --edits ${folder || '.'}`;
  if (text.startsWith('PK'))
    return 'a zip archive. If it is a covariance of ROME, see palimpsest covariance import --help';
  if (/^\s*[[{]/.test(text)) return 'JSON text. If it is an edit list, give it a name that ends in .json';
  return bytes.length < 9 ? `only ${bytes.length} bytes` : 'no safetensors file';
}
