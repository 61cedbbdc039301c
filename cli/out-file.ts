/** Looks at where a file shall go before anything is computed for it. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { UsageError } from '../src/errors.ts';

/**
 * The write itself may still fail, and then says so; this finds what is certain to fail.
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
