/**
 * `npm run bench`: every matmul rung that this adapter can run, then the phases of one edit of the bundled model.
 *
 *   npm run bench -- attention       another family or phase; see `palimpsest bench --help`
 *
 * Each family lies in its own file of src/lab/bench, since the published command measures them too.
 */
import process from 'node:process';
import { parse } from '../cli/parse.ts';
import { bench } from '../cli/bench.ts';
import { Terminal } from '../cli/terminal.ts';

const words = process.argv.slice(2);
const named = words.length > 0 && !words[0]?.startsWith('-');
const controller = new AbortController();
process.on('SIGINT', () => controller.abort(new Error('interrupted')));

for (const family of named ? [words[0] as string] : ['matmul', 'edit']) {
  const rest = named ? words.slice(1) : words;
  const chosen = await parse(['bench', family, ...rest], [bench]);
  if (!chosen) break;
  const { json, quiet, verbose } = chosen.common;
  const terminal = new Terminal({ json, quiet, verbose });
  const { error, ...report } = await chosen.run({ terminal, signal: controller.signal });
  if (json) terminal.document(report);
  if (error) {
    terminal.error(error.message);
    process.exitCode = 1;
  }
}
