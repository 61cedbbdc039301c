/**
 * SwiftShader, Google's software Vulkan driver, out of the npm package `@sparticuz/chromium` (an optional peer):
 * so `npm ci` alone gives a bare machine without root an adapter.
 */
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, dirname } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { GpuError } from '../errors.ts';
import { cacheFolder } from '../io/cache.ts';

/** Unpacks the driver once into the cache. Returns its folder, or undefined where the package is not installed. */
export async function unpackSwiftShader(): Promise<string | undefined> {
  const archive = findArchive();
  if (!archive) return undefined;
  const { size } = await stat(archive).catch(() => ({ size: 0 }));
  if (size === 0) return undefined;
  const folder = join(cacheFolder(), 'swiftshader', String(size));
  if (await stat(join(folder, 'vk_swiftshader_icd.json')).catch(() => undefined)) return folder;
  const temporary = await mkdir(dirname(folder), { recursive: true })
    .then(() => mkdtemp(`${folder}.`))
    .catch((error: Error) => {
      throw new GpuError(
        `gpu: SwiftShader cannot be unpacked into the cache: ${error.message}. Set PALIMPSEST_CACHE to a folder you may write to.`,
        'no_adapter',
        { cause: error },
      );
    });
  try {
    await untar(brotliDecompressSync(await readFile(archive)), temporary);
    // Two processes may unpack at once: whoever renames first wins, and both hold the same bytes.
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (!(await stat(folder).catch(() => undefined))) throw error;
  }
  return folder;
}

function findArchive(): string | undefined {
  try {
    const main = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    const root =
      main.slice(0, main.lastIndexOf(join('@sparticuz', 'chromium'))) + join('@sparticuz', 'chromium');
    return join(root, 'bin', 'swiftshader.tar.br');
  } catch {
    return undefined;
  }
}

async function untar(bytes: Uint8Array, folder: string): Promise<void> {
  const tar = extract();
  tar.end(bytes);
  for await (const entry of tar) {
    const name = entry.header.name.split('/').pop();
    const content = entry as AsyncIterable<unknown> as AsyncIterable<Uint8Array>;
    if (entry.header.type === 'file' && name) await writeFile(join(folder, name), content, { mode: 0o755 });
    else entry.resume();
  }
}
