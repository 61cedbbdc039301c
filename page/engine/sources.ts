/** Files of the formats, in memory and as the visitor drops them. */
import { FormatFault } from '../../src/formats/source.ts';
import type { ByteSource } from '../../src/formats/source.ts';

/** Bytes in memory as a file. */
export function bytesSource(name: string, bytes: Uint8Array<ArrayBuffer>): ByteSource {
  return {
    name,
    size: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
  };
}

/** A file that the visitor dropped; only what is asked for is read. */
export function blobSource(name: string, blob: Blob): ByteSource {
  return {
    name,
    size: blob.size,
    read: async (offset, length) => {
      const bytes = await blob
        .slice(offset, offset + length)
        .arrayBuffer()
        .catch((error: unknown) => {
          throw new FormatFault(
            `it cannot be read: ${error instanceof Error ? error.message : String(error)}`,
          );
        });
      if (bytes.byteLength !== length)
        throw new FormatFault(`it ends at byte ${blob.size}, before what it lists`);
      return new Uint8Array(bytes);
    },
  };
}
