/** `weights/manifest.json`: the models the command line knows, and the checksums of the files that came with it. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelError } from '../errors.ts';
import { sha256File } from './file.ts';

export interface FileCheck {
  readonly sha256: string;
  readonly bytes: number;
}

/** A known model lies in a `folder` beside the manifest, or on the Hugging Face hub under the id `hub`. */
export interface ManifestEntry {
  readonly folder?: string;
  readonly hub?: string;
  /** Commit on the hub; without it, the branch `main`. */
  readonly revision?: string;
  /** The layer whose MLP is edited when nothing else is said, counted from 0. */
  readonly edit_layer: number;
  /** κ: the longest δ, in lengths of v0. */
  readonly clamp: number;
  readonly files?: Readonly<Record<string, FileCheck>>;
  /** Second moments that came with the model, by layer: `layer-1`; `file` lies in `folder`. */
  readonly covariance?: Readonly<Record<string, FileCheck & { readonly file: string }>>;
}

export interface Manifest {
  /** The folder that holds the manifest and the bundled models. */
  readonly root: string;
  readonly models: Readonly<Record<string, ManifestEntry>>;
}

/** @throws ModelError if the manifest is missing or an entry of it is malformed */
export async function readManifest(path?: string): Promise<Manifest> {
  const file = path ?? (await bundledManifest());
  const fault = (what: string): ModelError =>
    new ModelError(
      `manifest ${file}: ${what}. The installation is incomplete: reinstall it.`,
      'bad_manifest',
    );
  let models: unknown;
  try {
    models = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw fault((error as Error).message);
  }
  if (!isRecord(models)) throw fault('expected an object of models');
  for (const [name, entry] of Object.entries(models)) {
    const wrong = entryFault(entry);
    if (wrong) throw fault(`model "${name}": ${wrong}`);
  }
  return { root: dirname(file), models: models as Record<string, ManifestEntry> };
}

/** The manifest lies in `weights/`, beside `src/` or, in the published package, beside `dist/`. */
async function bundledManifest(): Promise<string> {
  const near = fileURLToPath(new URL('../../weights/manifest.json', import.meta.url));
  const published = fileURLToPath(new URL('../../../weights/manifest.json', import.meta.url));
  return stat(near).then(
    () => near,
    () => published,
  );
}

function entryFault(entry: unknown): string | undefined {
  if (!isRecord(entry)) return 'expected an object';
  const { folder, hub, edit_layer: layer, clamp, files = {}, covariance = {} } = entry;
  if ((typeof folder === 'string') === (typeof hub === 'string')) return 'expected either "folder" or "hub"';
  if (!Number.isInteger(layer) || (layer as number) < 0) return '"edit_layer" must be a whole number >= 0';
  if (typeof clamp !== 'number' || !(clamp > 0)) return '"clamp" must be a number > 0';
  if (!isRecord(files) || !Object.values(files).every(isCheck))
    return '"files" must give sha256 and bytes of each';
  const listed = isRecord(covariance) ? Object.values(covariance) : [undefined];
  if (!listed.every((item) => isCheck(item) && 'file' in item && typeof item.file === 'string')) {
    return '"covariance" must give file, sha256 and bytes of each layer';
  }
  return undefined;
}

function isCheck(value: unknown): value is FileCheck {
  if (!isRecord(value)) return false;
  const { sha256, bytes } = value;
  return typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && Number.isSafeInteger(bytes);
}

/**
 * Checks a file against what is known of it: first the size, then the SHA-256.
 *
 * @throws ModelError with the expected and the actual value
 */
export async function verifyFile(folder: string, name: string, check: FileCheck): Promise<void> {
  const path = join(folder, name);
  const fault = (what: string): ModelError =>
    new ModelError(`${path}: ${what}. The file was changed or damaged: fetch it again.`, 'checksum');
  const { size } = await stat(path).catch(() => {
    throw fault('expected a file, there is none');
  });
  if (size !== check.bytes) throw fault(`expected ${check.bytes} bytes, it has ${size}`);
  const actual = await sha256File(path);
  if (actual !== check.sha256) throw fault(`expected sha256 ${check.sha256}, got ${actual}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
