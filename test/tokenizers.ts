import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { Tokenizer } from '../src/models/tokenizer.ts';

/** Text of a file, by its path from the project's root. */
export function readText(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
}

export const readJson = (path: string): unknown => JSON.parse(readText(path));

/** Real GPT-2's tokenizer, 50,257 tokens. */
export function gpt2Tokenizer(): Tokenizer {
  const packed = readFileSync(new URL('golden/gpt2-tokenizer/tokenizer.json.gz', import.meta.url));
  return new Tokenizer(JSON.parse(gunzipSync(packed).toString('utf8')));
}

/** The bundled model's tokenizer, 8,192 tokens. */
export function factsTokenizer(): Tokenizer {
  return new Tokenizer(
    readJson('weights/facts/tokenizer.json'),
    readJson('weights/facts/tokenizer_config.json'),
  );
}

/** One of the reference edits: test/golden/fixtures/edits.json holds more than is named here. */
export interface GoldenEdit {
  request: { prompt: string; subject: string; target_new: string; target_true: string };
  target_ids: number[];
  lookups: number[];
}

export const goldenEdits = readJson('test/golden/fixtures/edits.json') as GoldenEdit[];
export const goldenContexts = readJson('test/golden/fixtures/contexts.json') as string[];

/** What `run` throws; fails when it returns. */
export function thrown(run: () => unknown): Error & { code?: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('expected an error, and none was thrown');
}
