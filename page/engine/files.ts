/**
 * The model's files: streamed from beside the page, checked against their sha256, and kept in the browser's Cache Storage
 * under it, so that the next visit fetches nothing. A browser that keeps nothing is no error.
 */
import type { Covariance } from '../../src/edit/covariance-solver.ts';
import { ModelError } from '../../src/errors.ts';
import { checkCovariance, readC } from '../../src/formats/covariance-file.ts';
import { readSafetensors } from '../../src/formats/safetensors.ts';
import { sha256 } from '../../src/formats/source.ts';
import { checkTensors, readArchitecture } from '../../src/models/checkpoint.ts';
import type { Checkpoint } from '../../src/models/checkpoint.ts';
import type { Progress } from './protocol.ts';
import { bytesSource } from './sources.ts';

const STORE = 'palimpsest-model';

export interface KnownFile {
  readonly sha256: string;
  readonly bytes: number;
}

/** What `weights/manifest.json` says of a bundled model. */
export interface KnownModel {
  readonly folder: string;
  readonly edit_layer: number;
  readonly clamp: number;
  readonly files: Readonly<Record<string, KnownFile>>;
  readonly covariance: Readonly<Record<string, KnownFile & { readonly file: string }>>;
}

export interface LoadedFiles {
  readonly checkpoint: Checkpoint;
  readonly covariance: Covariance;
  readonly stored: boolean;
}

/** @throws ModelError naming the file that cannot be had, or is not the one it should be */
export async function loadFiles(
  id: string,
  known: KnownModel,
  base: string,
  onProgress: (progress: Progress) => void,
): Promise<LoadedFiles> {
  const layer = known.edit_layer;
  const covariance = known.covariance[`layer-${layer}`];
  if (!covariance) throw new ModelError(`model ${id}: the manifest has no covariance of layer ${layer}.`);
  const wanted = new Map<string, KnownFile>([
    ...Object.entries(known.files),
    [covariance.file, { sha256: covariance.sha256, bytes: covariance.bytes }],
  ]);
  const total = [...wanted.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const store = await openStore();
  let [done, cached] = [0, 0];
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  let stored = store !== undefined;
  await Promise.all(
    [...wanted].map(async ([name, file]) => {
      const kept = await fromStore(store, file);
      if (kept) {
        done += file.bytes;
        cached += file.bytes;
        onProgress({ done, total, cached });
        files.set(name, kept);
        return;
      }
      const bytes = await download(new URL(`${known.folder}/${name}`, base).href, file, (more) => {
        done += more;
        onProgress({ done, total, cached });
      });
      files.set(name, bytes);
      stored = (await toStore(store, file, bytes)) && stored;
    }),
  );
  const get = (name: string): Uint8Array<ArrayBuffer> => files.get(name) as Uint8Array<ArrayBuffer>;
  const json = (name: string): unknown => JSON.parse(new TextDecoder().decode(get(name)));
  const architecture = await readArchitecture(id, json('config.json'));
  const weights = await readSafetensors(bytesSource('model.safetensors', get('model.safetensors')));
  const moments = await checkCovariance(
    await readSafetensors(bytesSource(covariance.file, get(covariance.file))),
  );
  return {
    checkpoint: {
      id,
      architecture,
      tokenizerJson: json('tokenizer.json'),
      tokenizerConfig: json('tokenizer_config.json'),
      tensors: checkTensors(id, weights, architecture),
      sha256: () => Promise.resolve(known.files['model.safetensors']?.sha256 ?? ''),
    },
    covariance: {
      key: moments.key,
      size: moments.facts.size,
      tokens: moments.facts.tokens,
      panels: await readC(moments),
    },
    stored,
  };
}

/** undefined where the browser refuses: a private window, cookies turned off, no https. */
async function openStore(): Promise<Cache | undefined> {
  try {
    return await caches.open(STORE);
  } catch {
    return undefined;
  }
}

/** A file is kept under its checksum, so a new version never meets an old file. */
const storeKey = (file: KnownFile): string => `https://palimpsest.invalid/${file.sha256}`;

async function fromStore(
  store: Cache | undefined,
  file: KnownFile,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const found = await store?.match(storeKey(file));
    if (!found) return undefined;
    const bytes = new Uint8Array(await found.arrayBuffer());
    return (await sha256(bytes)) === file.sha256 ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** @returns whether it is kept */
async function toStore(
  store: Cache | undefined,
  file: KnownFile,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  try {
    await store?.put(storeKey(file), new Response(bytes));
    return store !== undefined;
  } catch {
    return false; // full, or refused
  }
}

async function download(
  url: string,
  file: KnownFile,
  onBytes: (more: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const fault = (what: string): ModelError =>
    new ModelError(`${url}: ${what}. Load the page again; if that does not help, its files are incomplete.`);
  const response = await fetch(url).catch((error: unknown) => {
    throw fault(`expected the file, but ${error instanceof Error ? error.message : String(error)}`);
  });
  if (!response.ok || !response.body)
    throw fault(`expected the file, but the server said ${response.status}`);
  const bytes = new Uint8Array(file.bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const piece = part.value;
    if (at + piece.length > bytes.length) throw fault(`expected ${file.bytes} bytes, more came`);
    bytes.set(piece, at);
    at += piece.length;
    onBytes(piece.length);
  }
  if (at !== bytes.length) throw fault(`expected ${file.bytes} bytes, only ${at} came`);
  const found = await sha256(bytes);
  if (found !== file.sha256) throw fault(`expected sha256 ${file.sha256}, got ${found}`);
  return bytes;
}
