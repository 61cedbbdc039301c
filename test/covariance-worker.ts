/** A process of its own for covariance-processes.test.ts: builds in FOLDER, saves after every batch, and says so. */
import { join } from 'node:path';
import process from 'node:process';
import { Interrupted } from '../src/errors.ts';
import { openGpu } from '../src/gpu/node.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import { runBuild } from './run-build.ts';
import { tinyCheckpoint, tinyModel } from './tiny.ts';

const folder = process.argv[2]!;
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort(new Interrupted()));
const gpu = await openGpu();
const checkpoint = tinyCheckpoint();
const model = await tinyModel(gpu, checkpoint);
const corpus = await openCorpus([join(folder, 'corpus.txt')], { spool: folder });
try {
  const job = { model, checkpoint, corpus, layers: [1], batch: 100, cache: folder, saveMs: 0 };
  const [file] = await runBuild({ ...job, signal: stop.signal }, (event) => {
    if (event.kind === 'resumed' || event.kind === 'saved') console.log(`${event.kind} ${event.tokens}`);
  });
  console.log(`done ${file!.path}`);
} catch (error) {
  console.log(`error ${(error as { code?: string }).code} ${(error as Error).message}`);
} finally {
  model.destroy();
  gpu.destroy();
}
