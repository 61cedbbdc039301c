/** Runs one command as a process, within bounds, and says what is wrong with how it ended. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const MEASURE = fileURLToPath(new URL('./measure.mjs', import.meta.url));
const MEGABYTE = 2 ** 20;
/** A machine under load is slow; what counts is the processor's time. */
const WALL_MS = 240_000;
/** Over what the same command takes with good files. */
const CPU_SECONDS = 5;
const REFUSED_MB = 300;
const DONE_MB = 1500;
/** A process that has so much is ended, before it takes the machine with it. */
const KILL_MB = 4000;
const MOST_STDERR = 50_000;

export interface Job {
  /** The program: node's arguments before those of palimpsest. */
  readonly program: readonly string[];
  readonly args: readonly string[];
  /** Working folder; everything the command reads lies in it, and all it may write. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Paths, relative to the folder, that may come to be or change; a folder with all in it. */
  readonly outputs: readonly string[];
  /** Seconds and megabytes of the same command with good files. */
  readonly usual?: Usage;
  /** It is ended after this. */
  readonly wallMs?: number;
  /** It is interrupted once this file has so many lines. */
  readonly until?: { readonly file: string; readonly lines: number };
}

export interface Usage {
  readonly cpu: number;
  readonly megabytes: number;
}

export interface Ended extends Usage {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Verdict {
  readonly ended: Ended;
  /** What broke the contract, a sentence each; none for a run as it should be. */
  readonly faults: readonly string[];
}

export async function judge(job: Job): Promise<Verdict> {
  const before = snapshot(job.folder);
  const ended = await run(job);
  const faults = [...ofProcess(job, ended), ...ofStreams(job, ended), ...ofFiles(job, before)];
  return { ended, faults };
}

const CODES = [0, 2, 3, 5, 130];

function ofProcess(
  { usual = { cpu: 3, megabytes: 400 } }: Job,
  { code, signal, cpu, megabytes }: Ended,
): string[] {
  const faults: string[] = [];
  if (code === null)
    faults.push(
      `ended by ${signal ?? 'itself'} after ${cpu.toFixed(1)} s of the processor and ${megabytes.toFixed(0)} MB`,
    );
  else if (!CODES.includes(code)) faults.push(`exit code ${code}`);
  const more = megabytes - usual.megabytes;
  const refused = code === 2 || code === 5;
  if (more > (refused ? REFUSED_MB : DONE_MB))
    faults.push(`${more.toFixed(0)} MB over the usual, exit code ${code}`);
  if (refused && cpu - usual.cpu > CPU_SECONDS)
    faults.push(`refused after ${cpu.toFixed(1)} s of the processor`);
  return faults;
}

/** Controls but line break, carriage return of no kind, tab; marks of direction; the sign that stands for a dash inside. */
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\uf8fe]/;
const TRACE = /\n\s+at .*(file:|node:|\.[jt]s:\d)|This is a bug|TypeError|RangeError|SyntaxError:/;

function ofStreams({ args }: Job, { stdout, stderr, code }: Ended): string[] {
  const faults: string[] = [];
  for (const [name, text] of Object.entries({ stdout, stderr })) {
    const found = CONTROL.exec(text);
    if (found)
      faults.push(
        `${name} has ${JSON.stringify(text.slice(Math.max(0, found.index - 30), found.index + 10))}`,
      );
    const trace = TRACE.exec(text);
    if (trace)
      faults.push(`${name} shows a trace: ${text.slice(Math.max(0, trace.index - 200), trace.index + 200)}`);
  }
  if (stderr.length > MOST_STDERR) faults.push(`stderr has ${stderr.length} characters`);
  if (code !== 0 && code !== null && stderr.trim() === '') faults.push('nothing on stderr says why');
  if (isJson(args) && stdout !== '') {
    const document = parsed(stdout);
    if (!document || document['schema'] !== 1 || !('command' in document))
      faults.push(`stdout under --json: ${stdout.slice(0, 100)}`);
    else if (code !== 0 && code !== null && !('error' in document)) faults.push('no error in the document');
  }
  if (isJson(args) && stdout === '' && code === 0) faults.push('exit code 0 without a document');
  return faults;
}

function isJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  const flags = args.slice(0, end < 0 ? undefined : end);
  // A boolean takes `false` from the word behind it.
  const asked = flags.some((flag, i) => flag === '--json' && flags[i + 1] !== 'false');
  return asked && !['--help', '--version'].some((flag) => flags.includes(flag));
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function ofFiles({ folder, outputs }: Job, before: ReadonlyMap<string, string>): string[] {
  const after = snapshot(folder);
  const allowed = outputs.map((path) => relative(folder, resolve(folder, path)));
  const isOutput = (path: string): boolean =>
    allowed.some(
      (output) => path === output || path.startsWith(output + sep) || output.startsWith(path + sep),
    );
  const faults: string[] = [];
  for (const [path, is] of after) {
    const was = before.get(path);
    if (was === is) continue;
    if (/\.tmp$|\.lock$|\.partial$|\.lock\./.test(path) && was === undefined)
      faults.push(`left behind: ${path}`);
    else if (!isOutput(path)) faults.push(`${was === undefined ? 'made' : 'changed'}: ${path}`);
  }
  for (const path of before.keys()) if (!after.has(path) && !isOutput(path)) faults.push(`removed: ${path}`);
  return faults;
}

/** What every path is: folders by name, links by target, files by content. */
function snapshot(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const file = join(folder, path);
    const stat = lstatSync(file, { throwIfNoEntry: false });
    if (!stat) continue;
    if (stat.isFile())
      found.set(path, stat.size < 5e7 ? hash(readFileSync(file)) : `${stat.size} ${stat.mtimeMs}`);
    else found.set(path, stat.isSymbolicLink() ? `-> ${readlinkSync(file)}` : String(stat.mode & 0o170000));
  }
  return found;
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** None outlives the harness. */
const alive = new Set<ChildProcess>();
process.on('exit', () => alive.forEach((child) => child.kill('SIGKILL')));

function run({ program, args, folder, env, wallMs = WALL_MS, until }: Job): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(process.execPath, ['--import', MEASURE, ...program, ...args], {
      cwd: folder,
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    alive.add(child);
    const output = ['', '', '', ''];
    child.stdio.forEach((stream, i) =>
      stream && 'on' in stream && i > 0
        ? stream.on('data', (part: Buffer) => {
            if ((output[i] ?? '').length < 2e8) output[i] += part.toString();
          })
        : undefined,
    );
    const start = performance.now();
    let seen: Usage = { cpu: 0, megabytes: 0 };
    const watch = setInterval(() => {
      seen = usageOf(child.pid) ?? seen;
      if (performance.now() - start > wallMs || seen.megabytes > KILL_MB) child.kill('SIGKILL');
    }, 100);
    const lines = setInterval(() => {
      if (until && linesOf(join(folder, until.file)) >= until.lines) child.kill('SIGINT');
    }, 10);
    child.on('close', (code, signal) => {
      alive.delete(child);
      clearInterval(watch);
      clearInterval(lines);
      const [cpu, megabytes] = (output[3] ?? '').split(' ').map(Number);
      const told = cpu !== undefined && megabytes !== undefined && megabytes > 0 ? { cpu, megabytes } : seen;
      done({ code, signal, stdout: output[1] ?? '', stderr: output[2] ?? '', ...told });
    });
  });
}

function linesOf(path: string): number {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;
}

/** Of a process that still runs, from the system's tables. */
function usageOf(pid: number | undefined): Usage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return {
      cpu: ((fields[11] ?? 0) + (fields[12] ?? 0)) / 100,
      megabytes: (Number(peak ?? 0) * 1024) / MEGABYTE,
    };
  } catch {
    return undefined;
  }
}
