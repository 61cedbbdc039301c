/**
 * Writes a GPT-2 with random weights as a checkpoint folder, for tests and for comparisons with other programs:
 *
 *   npx tsx test/write-random-model.ts FOLDER [small|medium|large|xl] [seed]
 */
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { readGpt2 } from '../src/models/gpt2.ts';
import { GPT2_SIZES, randomCheckpoint } from '../src/models/random-checkpoint.ts';
import { writeSafetensors } from '../src/io/atomic.ts';

type ModelSize = keyof typeof GPT2_SIZES;

const CHUNK_BYTES = 16 * 2 ** 20;

/** config.json, tokenizer.json (that of GPT-2) and model.safetensors; the same seed gives the same bytes. */
export async function writeRandomModel(folder: string, size: ModelSize = 'small', seed = 0): Promise<void> {
  const packed = readFileSync(new URL('golden/gpt2-tokenizer/tokenizer.json.gz', import.meta.url));
  const tokenizer = gunzipSync(packed).toString('utf8');
  const config = GPT2_SIZES[size];
  const { tensors } = randomCheckpoint(size, {
    ...{ architecture: readGpt2('tiny', config), tokenizerJson: JSON.parse(tokenizer), seed },
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify({ model_type: 'gpt2', ...config }));
  await writeFile(join(folder, 'tokenizer.json'), tokenizer);
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    tensors.names().map((name) => ({
      name,
      dtype: 'F32',
      shape: tensors.info(name).shape,
      data: () => tensors.chunks(name, CHUNK_BYTES),
    })),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, size = 'small', seed = '0'] = process.argv.slice(2);
  if (folder === undefined || !(size in GPT2_SIZES)) {
    console.error('usage: write-random-model.ts FOLDER [small|medium|large|xl] [seed]');
    process.exit(2);
  }
  await writeRandomModel(folder, size as ModelSize, Number(seed));
}
