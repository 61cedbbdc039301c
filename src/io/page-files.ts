/** The page as it was built, and the model that it edits: where they lie, and how they come together in one folder. */
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { exists, ownPath } from './file.ts';
import { readManifest } from './models.ts';
import type { Mount } from './static-server.ts';

/** The model of the page, as the manifest calls it. */
const MODEL = 'facts';

/**
 * Folders of a served page: built files, and under `weights/` the bundled model.
 *
 * @throws UsageError when the page was not built
 */
export async function pageMounts(): Promise<readonly [weights: Mount, built: Mount]> {
  const { root, models } = await readManifest();
  const folder = models[MODEL]?.folder ?? MODEL;
  return [
    { prefix: `weights/${folder}/`, folder: join(root, folder) },
    { prefix: '', folder: await builtPage() },
  ];
}

async function builtPage(): Promise<string> {
  const folder = await ownPath('dist/page');
  if (await exists(join(folder, 'index.html'))) return folder;
  throw new UsageError(
    'page: expected the built page, there is none. In a clone, build it with: npm run page; an installed package brings it along: reinstall it.',
  );
}

/**
 * Writes page and model into a folder for any host of static files.
 *
 * @returns how many files
 * @throws UsageError when the folder is not empty
 */
export async function copyPage(folder: string): Promise<number> {
  const found = await readdir(folder).catch(() => []);
  if (found.length > 0)
    throw new UsageError(
      `--out ${folder}: expected a new or empty folder, it has ${found.length} entries. Choose another.`,
    );
  let files = 0;
  for (const { prefix, folder: from } of await pageMounts())
    await cp(from, join(folder, prefix), {
      recursive: true,
      filter: (path) => {
        files += /\.\w+$/.test(path) ? 1 : 0;
        return true;
      },
    });
  return files;
}
