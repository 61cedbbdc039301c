/** The version of the package, and of what it runs on. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { ownPaths } from './file.ts';

/** package.json lies above `src/`, or above `dist/` in the published package. */
export function readVersion(): string {
  return ownPaths('package.json').flatMap((path) => versionIn(path, 'palimpsest') ?? [])[0] ?? 'unknown';
}

/** Written into edit files and printed by `doctor`. */
export function versions(): Record<string, string> {
  return { palimpsest: readVersion(), node: process.version, webgpu: dependencyVersion('webgpu') };
}

function dependencyVersion(name: string): string {
  try {
    let folder = dirname(createRequire(import.meta.url).resolve(name));
    for (let up = 0; up < 5; up += 1) {
      const found = versionIn(join(folder, 'package.json'), name);
      if (found) return found;
      folder = dirname(folder);
    }
  } catch {
    // not installed
  }
  return 'unknown';
}

function versionIn(path: string, name: string): string | undefined {
  try {
    const found = JSON.parse(readFileSync(path, 'utf8')) as { name?: string; version?: string };
    return found.name === name ? found.version : undefined;
  } catch {
    return undefined;
  }
}
