/** An unfinished build on disk: the sums of all its layers in one file, so that they can never disagree. */
import { rm, stat } from 'node:fs/promises';
import { ModelError } from '../errors.ts';
import type { BuildState, LayerSum } from '../edit/covariance.ts';
import type { CorpusPosition } from './corpus.ts';
import { checksumOf, type Matrices, panelTensors } from '../formats/covariance-file.ts';
import { openSafetensors } from './file.ts';
import { writeSafetensors } from './atomic.ts';

export type CorpusBuild = BuildState<CorpusPosition>;

const FORMAT = 'palimpsest covariance checkpoint';

/** What is kept of a build beside its sums. */
interface Progress {
  readonly tokens: number;
  readonly documents: number;
  readonly cut: number;
  readonly position: CorpusPosition;
}

/** @param key of the build: see `buildKey` */
export async function writeCheckpoint(
  path: string,
  key: string,
  size: number,
  state: CorpusBuild,
): Promise<void> {
  const { tokens, documents, cut, position, sums } = state;
  const matrices: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const { layer, high, low } of sums) {
    matrices[`${layer}.S.high`] = high;
    matrices[`${layer}.S.low`] = low;
  }
  const progress = JSON.stringify({ tokens, documents, cut, position });
  const metadata = { format: FORMAT, key, progress, checksum: await checksumOf(matrices) };
  await writeSafetensors(path, panelTensors(matrices, size), { metadata });
}

/**
 * The last checkpoint of a build, or undefined when there is none.
 *
 * @throws ModelError when the file is damaged, or of another build
 */
export async function readCheckpoint(
  path: string,
  key: string,
  layers: readonly number[],
): Promise<CorpusBuild | undefined> {
  const there = await stat(path).then(
    () => true,
    () => false,
  );
  if (!there) return undefined;
  const fault = (what: string): ModelError =>
    new ModelError(
      `checkpoint ${path}: ${what}. Delete it to begin anew, or begin anew with --restart.`,
      'bad_checkpoint',
    );
  const file = await openSafetensors(path);
  const { format, key: found, progress, checksum } = file.metadata;
  if (format !== FORMAT || found !== key || progress === undefined) {
    throw fault(
      `expected the checkpoint of build ${key}, it is ${format === FORMAT ? `of build ${found}` : 'another kind of file'}`,
    );
  }
  const matrices: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const name of file.names()) matrices[name] = await file.readFloats(name);
  if ((await checksumOf(matrices as Matrices)) !== checksum)
    throw fault('its numbers are damaged, their checksum differs');
  const sums = layers.map((layer): LayerSum => {
    const [high, low] = [matrices[`${layer}.S.high`], matrices[`${layer}.S.low`]];
    if (!high || !low) throw fault(`it has no sum of layer ${layer}`);
    return { layer, high, low };
  });
  return { ...(JSON.parse(progress) as Progress), sums };
}

export async function removeCheckpoint(path: string): Promise<void> {
  await rm(path, { force: true });
}
