/**
 * `npm run bench`: every matmul rung that this adapter can run, then the phases of one edit of the bundled model.
 *
 *   npm run bench -- attention       another family or phase; see `palimpsest bench --help`
 *
 * Each family lies in its own file of src/lab/bench, since the published command measures them too.
 */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
const words = process.argv.slice(2);
const named = words.length > 0 && !words[0]?.startsWith('-');

for (const line of named
  ? [words]
  : [
      ['matmul', ...words],
      ['edit', ...words],
    ]) {
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', MAIN, 'bench', ...line], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}
