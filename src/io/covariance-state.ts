/** The state of an unfinished build on disk: the sums of all its layers in one file, so that they can never disagree. */
import * as v from 'valibot';
import type { BuildState, LayerSum } from '../edit/covariance.ts';
import { ModelError } from '../errors.ts';
import { checksumOf, type Matrices } from '../formats/checksum.ts';
import { panelTensors } from '../formats/covariance-file.ts';
import { jsonFrom } from '../json.ts';
import { writeSafetensors } from './atomic.ts';
import { COUNT, type CorpusPosition, POSITION } from './corpus.ts';
import { exists, openSafetensors } from './file.ts';

export type CorpusBuild = BuildState<CorpusPosition>;

const FORMAT = 'palimpsest covariance state';

const PROGRESS = v.object({
  tokens: COUNT,
  documents: COUNT,
  cut: COUNT,
  skipped: v.optional(COUNT),
  position: v.optional(POSITION),
});

/** @param key of the build: see `buildKey` */
export async function writeState(path: string, key: string, size: number, state: CorpusBuild): Promise<void> {
  const { sums, ...progress } = state;
  const matrices: Record<string, Float32Array<ArrayBuffer>> = {};
  const checksums: string[] = [];
  for (const sum of sums) {
    Object.assign(matrices, named(sum));
    checksums.push(await checksumOf(named(sum)));
  }
  const metadata = {
    format: FORMAT,
    key,
    progress: JSON.stringify(progress),
    checksums: checksums.join(' '),
  };
  await writeSafetensors(path, panelTensors(matrices, size), { metadata });
}

/**
 * The state of a build as it was saved last, or undefined when there is none.
 *
 * @throws ModelError when the file is damaged, or of another build
 */
export async function readState(
  path: string,
  key: string,
  layers: readonly number[],
): Promise<CorpusBuild | undefined> {
  if (!(await exists(path))) return undefined;
  const fault = (what: string): ModelError =>
    new ModelError(`build ${path}: ${what}. Begin anew with --restart.`, 'bad_state');
  const file = await openSafetensors(path);
  const { format, key: found, progress, checksums = '' } = file.metadata;
  if (format !== FORMAT || found !== key || progress === undefined) {
    const what = format === FORMAT ? `of build ${found}` : 'another kind of file';
    throw fault(`expected the state of build ${key}, it is ${what}`);
  }
  const sums: LayerSum[] = [];
  for (const [i, layer] of layers.entries()) {
    if (!file.names().includes(`${layer}.S.high`)) throw fault(`it has no sum of layer ${layer}`);
    const high = await file.readFloats(`${layer}.S.high`);
    const low = await file.readFloats(`${layer}.S.low`);
    if ((await checksumOf(named({ layer, high, low }))) !== checksums.split(' ')[i])
      throw fault('its numbers are damaged, their checksum differs');
    sums.push({ layer, high, low });
  }
  const json = jsonFrom(progress, (what) => fault(`"progress": expected JSON, found ${what}`));
  const { success, output, issues } = v.safeParse(PROGRESS, json, { abortEarly: true });
  if (success) return { ...output, position: output.position, sums };
  throw fault(`"progress": ${v.getDotPath(issues[0])}: ${issues[0].message}`);
}

function named({ layer, high, low }: LayerSum): Matrices {
  return { [`${layer}.S.high`]: high, [`${layer}.S.low`]: low };
}
