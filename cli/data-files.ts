/** The data sets that come with the project, wherever it is run from. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../src/errors.ts';

const FOLDERS = ['../data/', '../../data/'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));

/**
 * Text of a file that the user named, or else of one that comes with the project.
 *
 * @param flag the flag that names another
 * @throws UsageError when it cannot be read
 */
export async function readData(
  flag: string,
  named: string | undefined,
  own: string,
): Promise<{ text: string; name: string }> {
  const places = named === undefined ? FOLDERS.map((folder) => folder + own) : [named];
  for (const place of places) {
    const text = await readFile(place, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (named !== undefined)
        throw new UsageError(
          `${flag}: expected a readable file ${named}, but it cannot be opened (${error.code}).`,
        );
    });
    if (text !== undefined) return { text, name: named ?? own };
  }
  throw new UsageError(
    `${flag}: ${own} does not come with the installed package. Name a file of yours, or run in a clone of the project.`,
  );
}
