/**
 * Checksums that a safetensors file carries in its own metadata: a changed number is found before it is used.
 *
 * They guard against damage and against a slip of the hand. Whoever changes a file on purpose can write its checksum
 * anew: whom a file comes from, they do not say.
 */
import { bytesOf } from '../floats.ts';
import type { TensorToWrite } from './safetensors.ts';
import { sha256 } from './source.ts';

/** Numbers by tensor name. */
export type Matrices = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

type Metadata = Readonly<Record<string, string>>;

/** sha256 over the names and numbers of all matrices, in the order of their names. */
export async function checksumOf(matrices: Matrices): Promise<string> {
  return sha256(...inOrder(Object.entries(matrices)).flatMap(([name, data]) => [name, bytesOf(data)]));
}

/** The metadata with a `checksum` over the rest of them and all tensors. */
export async function sealed(
  metadata: Metadata,
  tensors: readonly TensorToWrite[],
): Promise<Record<string, string>> {
  const parts = tensors.map(({ name, shape, data }) => {
    if (data instanceof Uint8Array) return [name, { shape, bytes: data }] as const;
    throw new TypeError(`seal: expected the bytes of tensor ${name}, got a function.`);
  });
  return { ...metadata, checksum: await sealOf(metadata, parts) };
}

/** What is read of a file that was sealed. */
interface SealedFile {
  readonly metadata: Metadata;
  names(): string[];
  info(name: string): { readonly shape: readonly number[] };
  readFloats(name: string): Promise<Float32Array<ArrayBuffer>>;
}

/** Whether a file is what was sealed; undefined where it has no checksum. Its tensors are F32. */
export async function isSealed(file: SealedFile): Promise<boolean | undefined> {
  const { checksum, ...rest } = file.metadata;
  if (checksum === undefined) return undefined;
  const parts: [string, Part][] = [];
  for (const name of file.names())
    parts.push([name, { shape: file.info(name).shape, bytes: bytesOf(await file.readFloats(name)) }]);
  return (await sealOf(rest, parts)) === checksum;
}

interface Part {
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

function sealOf(metadata: Metadata, tensors: readonly (readonly [string, Part])[]): Promise<string> {
  const words = JSON.stringify(inOrder(Object.entries(metadata)));
  const numbers = inOrder(tensors).flatMap(([name, { shape, bytes }]) => [
    JSON.stringify([name, shape]),
    bytes,
  ]);
  return sha256(words, ...numbers);
}

function inOrder<T>(entries: readonly (readonly [string, T])[]): (readonly [string, T])[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}
