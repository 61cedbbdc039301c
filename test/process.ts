/** Runs the command line as people do: a process of its own, its streams through pipes. */
import { spawn } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const built = process.env['PALIMPSEST_BUILT'] === '1';
/**
 * The command line as arguments of Node: what users get, where `npm test` has built it, which starts in half the time of
 * the sources, else those.
 */
export const COMMAND: readonly string[] = built
  ? [fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))]
  : ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL('../cli/main.ts', import.meta.url))];
const TIMEOUT_MS = 120_000;

export interface Ended {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What it reads on stdin. */
  readonly input?: string;
  /** Node's arguments in the place of COMMAND. */
  readonly program?: readonly string[];
  /** A signal, SIGINT if not told, as soon as stderr has this text in it, this many times. */
  readonly interruptAt?: string;
  readonly signal?: NodeJS.Signals;
  readonly interrupts?: number;
  /** Stops reading stdout after the first piece, as `head` does. */
  readonly readOnce?: boolean;
  /** Handed what sends a signal, as soon as the process runs. */
  readonly started?: (kill: (signal: NodeJS.Signals) => void) => void;
}

export function cli(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
  const { env = {}, cwd, input = '', program = COMMAND } = options;
  const { interruptAt, signal = 'SIGINT', interrupts = 1, readOnce = false } = options;
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...program, ...args], {
      ...{ cwd, env: { ...process.env, ...env } },
      timeout: TIMEOUT_MS,
    });
    child.stdin.on('error', () => undefined); // it need not be read
    child.stdin.end(input);
    options.started?.((signal) => void child.kill(signal));
    let [stdout, stderr, sent] = ['', '', false];
    child.stdout.on('data', (part) => {
      stdout += String(part);
      if (readOnce) child.stdout.destroy();
    });
    child.stderr.on('data', (part) => {
      stderr += String(part);
      if (interruptAt === undefined || sent || !stderr.includes(interruptAt)) return;
      sent = true;
      for (let i = 0; i < interrupts; i += 1) setTimeout(() => child.kill(signal), 300 * i); // sooner, it is one
    });
    child.on('close', (code, by) => resolve({ code, signal: by, stdout, stderr }));
  });
}

/** An edit file as version 0.1.0 wrote it: without a checksum, so that a test can change it. */
export function unsealed(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replace('palimpsest.edit/2', 'palimpsest.edit/1')
    .replace('"checksum"', '"checksom"');
}
