/** Files that the user names: where results shall go, and data that comes with the project. */
import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../src/errors.ts';
import { readWhole } from '../src/io/file.ts';

/** Of the project's own data: in a clone, and in the published package. */
const FOLDERS = ['../data/', '../../data/'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));

/**
 * Looks at where a file shall go before anything is computed for it. The write itself may still fail, and then says so; this finds what is certain to fail.
 *
 * @param flag the flag that names the file
 * @throws UsageError naming the folder
 */
export async function checkWritable(flag: string, path: string): Promise<void> {
  const fault = (what: string): UsageError =>
    new UsageError(
      `${flag} ${path}: expected a file that can be written, but ${what}. Choose another place.`,
      'unwritable',
    );
  const target = resolve(path);
  if ((await stat(target).catch(() => undefined))?.isDirectory()) throw fault('it is a folder');
  for (let folder = dirname(target); ; folder = dirname(folder)) {
    const found = await stat(folder).catch((error: NodeJS.ErrnoException) => error);
    if (found instanceof Error) {
      if (found.code === 'ENOENT' && dirname(folder) !== folder) continue; // made when the file is written
      if (found.code === 'ENOTDIR') continue; // the file above it is found next
      throw fault(`${folder} cannot be read (${found.code})`);
    }
    if (!found.isDirectory()) throw fault(`${folder} is a file, not a folder`);
    await access(folder, constants.W_OK).catch(() => {
      throw fault(`the folder ${folder} may not be written to`);
    });
    return;
  }
}

/** Of a file that is read as a whole: the largest published data sets have 50 MB. */
const MOST_BYTES = 128 * 2 ** 20;

/** The text of a file that the user named. @throws what `fault` makes of one that cannot be read, or is larger */
export async function readText(path: string, fault: (what: string) => Error): Promise<string> {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readWhole(path, MOST_BYTES, fault));
}

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
  const fault = (what: string): UsageError => new UsageError(`${flag}: ${named}: ${what}.`);
  if (named !== undefined) return { text: await readText(named, fault), name: named };
  for (const folder of FOLDERS) {
    const text = await readFile(folder + own, 'utf8').catch(() => undefined);
    if (text !== undefined) return { text, name: own };
  }
  throw new UsageError(
    `${flag}: ${own} does not come with the installed package. Name a file of yours, or run in a clone of the project.`,
  );
}
