/**
 * The door that every file of a command goes through. The flags say which of them are files that it reads or writes
 * (`FileRole`); before a command begins, all of them are looked at here, by what they are and not by how they are spelt.
 */
import { constants, fstatSync } from 'node:fs';
import { access, open, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UsageError } from '../src/errors.ts';
import { placeOf, type Place } from '../src/io/place.ts';

/** What a command writes, and how it knows such a file of its own again: by words at its beginning, or at its end. */
export interface Kind {
  readonly name: string;
  readonly mark: string;
}

export const KINDS = {
  edit: { name: 'an edit file', mark: '"palimpsest.edit/' },
  dump: { name: 'a dump of vectors', mark: '"palimpsest.dump/' },
  list: { name: 'an edit list', mark: '"palimpsest.edits/' },
  covariance: { name: 'a covariance', mark: '"palimpsest covariance"' },
  archive: { name: 'an exported covariance', mark: 'palimpsest.layer' },
  times: { name: 'a table of dispatches', mark: 'kernel\tshape\tms\tflops\tbytes' },
  figure: { name: 'a figure of palimpsest', mark: '<!-- palimpsest' },
} as const satisfies Readonly<Record<string, Kind>>;

/** The files of a folder that a command writes, each with its mark. */
export type FolderKind = Readonly<Record<string, string>>;

const REPORT: FolderKind = { 'report.html': '<meta name="generator" content="palimpsest">' };
const RUN: FolderKind = { 'run.json': '"settings": {', 'run.jsonl': '"case_id":', 'run.vectors': 'PLM' };

export const FOLDERS = {
  report: REPORT,
  run: RUN,
  sequence: { ...RUN, ...REPORT, 'end.json': '"holding":' },
  study: { ...REPORT, 'study.json': '"command":"palimpsest paper' },
} satisfies Readonly<Record<string, FolderKind>>;

/** What a flag's text is beside a text. Flags that name files are made by `input`, `output` and `folder` of flags.ts. */
export type FileRole =
  | { readonly role: 'input' }
  | { readonly role: 'output' | 'both'; readonly kind: Kind }
  | { readonly role: 'folder'; readonly files: FolderKind };

export type NamedRole = FileRole & { readonly flag: string };

interface Named {
  readonly flag: string;
  /** As the user wrote it. */
  readonly path: string;
  readonly place: Place;
}

/** All files of one run of a command. */
export class Files {
  readonly #inputs: Named[] = [];
  readonly #outputs: Named[] = [];
  /** What is there already may be replaced. */
  readonly overwrite: boolean;
  readonly #resume: boolean;

  constructor({ overwrite, resume }: { readonly overwrite: boolean; readonly resume: boolean }) {
    this.overwrite = overwrite;
    this.#resume = resume;
  }

  get runMode(): 'new' | 'resume' | 'overwrite' {
    return this.#resume ? 'resume' : this.overwrite ? 'overwrite' : 'new';
  }

  /**
   * Takes files that the command reads; of a folder, those that lie in it.
   *
   * @throws UsageError when one of them is written by this command
   */
  async reads(flag: string, ...paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const place = await placeOf(path);
      const inside = place.kind === 'folder' ? await readdir(path).catch((): string[] => []) : [];
      for (const one of [path, ...inside.map((name) => join(path, name))]) {
        const input = { flag, path: one, place: one === path ? place : await placeOf(one) };
        this.#inputs.push(input);
        for (const output of this.#outputs) refuseSame(output, input);
      }
    }
  }

  /**
   * Looks at where a file shall go before anything is computed for it. The write itself may still fail, and then says so;
   * this finds what is certain to fail, and what would destroy a file.
   *
   * @param own what the command knows of its own at that place; absent: anything there may be replaced
   * @throws UsageError naming the file, or the folder that it cannot be written to
   */
  async writes(flag: string, path: string, own?: Kind): Promise<void> {
    if (path === '-')
      throw new UsageError(`${flag} -: expected the name of a file; stdout is for the result.`);
    const output = { flag, path, place: await placeOf(path) };
    for (const input of this.#inputs) refuseSame(output, input);
    for (const other of this.#outputs) refuseTwice(output, other);
    await checkWritable(output);
    if (own && !this.overwrite && output.place.kind === 'file' && !(await holds(output.place, own.mark)))
      throw new UsageError(
        `${flag} ${path}: expected a new file or ${own.name}, there is another file. Choose another name, or replace it with --overwrite.`,
        'file_exists',
      );
    this.#outputs.push(output);
  }

  /** The same for a folder with files of these names in it. */
  async fills(flag: string, path: string, files: FolderKind): Promise<void> {
    const names = Object.keys(files);
    const place = await placeOf(path);
    if (place.kind !== 'folder' && place.kind !== 'nothing')
      throw new UsageError(
        `${flag} ${path}: expected a folder, it is none. Choose another name.`,
        'unwritable',
      );
    const folder = { flag, path, place };
    for (const input of this.#inputs) refuseSame(folder, input);
    const there = await readdir(place.path).catch((): string[] => []);
    for (const [name, mark] of Object.entries(files)) {
      const resumed = this.#resume && name.startsWith('run.'); // a journal checks itself
      const own = resumed ? undefined : { name: 'a file of an earlier run', mark };
      await this.writes(flag, join(path, name), own);
    }
    this.#outputs.push(folder);
    if (this.overwrite) return;
    if (names.includes('run.json') && there.includes('run.json') && !this.#resume)
      throw new UsageError(
        `${path}: holds a run already. Go on with it by --resume, choose another folder with ${flag}, or begin anew with --overwrite.`,
        'run_exists',
      );
    const figure = there.find((name) => /\.(svg|vl\.json)$/.test(name));
    if (figure !== undefined && !names.some((name) => there.includes(name)))
      throw new UsageError(
        `${flag} ${path}: expected a folder of palimpsest, or one without figures: ${figure} could be lost. Choose another name, or replace them with --overwrite.`,
        'file_exists',
      );
  }

  /** Takes all that the flags of a command name. */
  static async of(
    roles: ReadonlyMap<string, NamedRole>,
    args: Readonly<Record<string, unknown>>,
  ): Promise<Files> {
    const files = new Files({ overwrite: args['overwrite'] === true, resume: args['resume'] === true });
    const named = [...roles].flatMap(([name, role]) =>
      [args[name] ?? []].flat().map((path) => ({ path: String(path), role })),
    );
    for (const { path, role } of named)
      if (role.role === 'input' && path !== '-') await files.reads(role.flag, path);
    for (const { path, role } of named) {
      if (role.role === 'folder') await files.fills(role.flag, path, role.files);
      else if (role.role !== 'input') await files.writes(role.flag, path, role.kind);
    }
    return files;
  }
}

/** Whether two names lead to one file; of what is not there yet, to one place. */
function isSame(a: Place, b: Place): boolean {
  return a.id !== '' && b.id !== '' ? a.id === b.id : a.path === b.path;
}

function refuseSame(output: Named, input: Named): void {
  const { place } = output;
  // A device or a FIFO holds nothing that could be lost.
  if (place.kind === 'device' || place.kind === 'fifo') return;
  if (!isSame(place, input.place)) return;
  throw new UsageError(
    `${output.flag} ${output.path}: expected another file than ${input.flag} ${input.path}, which this command reads: they are one. Choose another name.`,
    'output_is_input',
  );
}

function refuseTwice(output: Named, other: Named): void {
  if (output.place.kind === 'device' || !isSame(output.place, other.place)) return;
  throw new UsageError(
    `${output.flag} ${output.path}: expected another file than ${other.flag} ${other.path}, it is the same one. Choose two names.`,
    'output_twice',
  );
}

/** Where a file's mark is looked for: at its beginning, and at its end, where an archive lists its members. */
const HEAD_BYTES = 2 ** 16;
const TAIL_BYTES = 2 ** 12;

/** Whether a file is one of ours. One without content is nobody's. */
async function holds({ path, bytes }: Place, mark: string): Promise<boolean> {
  if (bytes === 0) return true;
  const file = await open(path).catch(() => undefined);
  if (!file) return false;
  try {
    for (const [at, length] of [
      [0, HEAD_BYTES],
      [Math.max(0, bytes - TAIL_BYTES), TAIL_BYTES],
    ] as const) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
      if (buffer.subarray(0, bytesRead).includes(mark)) return true;
    }
    return false;
  } finally {
    await file.close();
  }
}

/** @throws UsageError naming the folder */
async function checkWritable({ flag, path, place }: Named): Promise<void> {
  const fault = (what: string): UsageError =>
    new UsageError(
      `${flag} ${path}: expected a file that can be written, but ${what}. Choose another place.`,
      'unwritable',
    );
  const { kind, path: target } = place;
  if (kind === 'folder') throw fault('it is a folder');
  if (kind === 'other') throw fault('it is a disk, a socket, or a circle of links');
  if ((kind === 'fifo' || kind === 'file') && place.id === idOf(1))
    throw fault('it is the standard output, which the result goes to');
  if (kind === 'fifo' || kind === 'device') {
    await access(target, constants.W_OK).catch(() => {
      throw fault('it may not be written to');
    });
    return;
  }
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

function idOf(fd: number): string | undefined {
  try {
    const { dev, ino } = fstatSync(fd);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
