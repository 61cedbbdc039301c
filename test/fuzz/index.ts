/**
 * Tries commands on files and flags that are wrong in ways that nobody thought of, and judges how they end.
 *
 *   npm run fuzz -- --minutes N [--seed S] [--only WORD]   two processes at a time; a finding is one line
 *   npm run fuzz -- --seed S --run N [--keep]              one run again; --keep leaves its folder
 *
 * --seeds FOLDER takes the good files of another program, as `.cache/fuzz` has them. A run is decided by the seed and its number. Exit code 1 with a finding, 0 without.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES, SEEDS, hubFiles, writeSeeds } from './cases.ts';
import type { Case } from './cases.ts';
import { withLyingHub } from './hub.ts';
import { judge } from './judge.ts';
import type { Ended, Usage, Verdict } from './judge.ts';
import { HOSTILE, mutateBytes, mutateJson, mutateNpz, mutateSafetensors, mutateText } from './mutate.ts';
import { Choice } from './random.ts';

const AT_ONCE = 2;
const root = fileURLToPath(new URL('../../', import.meta.url));
const program = [join(root, 'dist/cli/main.js')];

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '0' },
    run: { type: 'string' },
    only: { type: 'string', default: '' },
    seeds: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const cases = CASES.filter(({ name }) => name.includes(values.only));
const lot = cases.flatMap((one) => Array<Case>(one.often).fill(one));

/** Compiled once: a process starts in a third of the time. */
function build(): void {
  const { status, stderr } = spawnSync('npm', ['run', '-s', 'build'], { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`build: ${stderr}`);
}

/** Nothing of the machine's: all that a command may write without being told lies in the folder. */
function environment(folder: string, hub?: Readonly<Record<string, string>>): Record<string, string> {
  for (const name of ['home', 'tmp']) mkdirSync(join(folder, name), { recursive: true });
  return {
    ...{ HOME: join(folder, 'home'), TMPDIR: join(folder, 'tmp'), XDG_CACHE_HOME: join(folder, 'xdg') },
    ...{
      PALIMPSEST_CACHE: join(folder, 'cache'),
      HF_HUB_CACHE: join(folder, 'hub'),
      HF_HOME: join(folder, 'hf'),
    },
    ...{
      MESA_SHADER_CACHE_DIR: SHADERS,
      PALIMPSEST_ADAPTER: process.env['PALIMPSEST_ADAPTER'] ?? 'auto',
    },
    ...(hub ?? { HF_HUB_OFFLINE: '1' }),
    ...(process.env['VK_ICD_FILENAMES'] === undefined
      ? {}
      : { VK_ICD_FILENAMES: process.env['VK_ICD_FILENAMES'] }),
  };
}
/** The driver's own cache of compiled shaders: without it every process compiles them anew. */
const SHADERS = process.env['MESA_SHADER_CACHE_DIR'] ?? join(homedir(), '.cache', 'mesa_shader_cache');
const CACHES = ['cache', 'hub', 'xdg', 'hf', 'home'];

interface Tried extends Verdict {
  readonly name: string;
  readonly args: readonly string[];
  readonly mutated: readonly string[];
}

/** @param number undefined: as it is, nothing made wrong */
async function tryCase(one: Case, number: number | undefined, usual?: Usage): Promise<Tried> {
  const c = new Choice(seed, number ?? 0);
  c.next(); // what chose the case
  const folder = join(top, number === undefined ? `usual-${one.name}` : `run-${number}`);
  mkdirSync(folder);
  for (const name of one.reads) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    cpSync(join(seeds, name), join(folder, name), { recursive: true });
  }
  const mutated: string[] = [];
  let args = [...one.args];
  if (number !== undefined) {
    if (one.mutable.length > 0 && !c.once(4)) mutated.push(await spoil(c, folder, c.of(one.mutable)));
    if (c.once(2)) args.push('--json');
    if (mutated.length === 0 || c.once(5)) args = flagged(c, args, one);
  }
  const outputs = [...one.outputs, ...namedOutputs(args, one), ...CACHES];
  const judged = async (hub?: Readonly<Record<string, string>>): Promise<Verdict> => {
    const job = { program, args, folder, env: environment(folder, hub), outputs };
    return judge(usual ? { ...job, usual } : job);
  };
  try {
    const verdict = one.hub
      ? await withLyingHub(
          c,
          hubFiles(seeds),
          number === undefined ? 0 : 1 + c.below(2),
          join(folder, 'hub'),
          judged,
        )
      : await judged();
    return { name: one.name, args, mutated, ...verdict };
  } finally {
    if (!values.keep) rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes a file wrong, or something else of it. */
async function spoil(c: Choice, folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  if (c.once(30)) {
    rmSync(path);
    const kind = c.of(['none', 'folder', 'itself', 'dangling', 'zero', 'full']);
    if (kind === 'folder') mkdirSync(path);
    else if (kind !== 'none')
      symlinkSync(
        { itself: path, dangling: 'nowhere', zero: '/dev/zero', full: '/dev/full' }[kind] ?? '',
        path,
      );
    return `${name} is ${kind}`;
  }
  const bytes = new Uint8Array(readFileSync(path)); // a Buffer gives views where an array gives copies
  let out: Uint8Array | string;
  if (name.endsWith('.safetensors')) out = await mutateSafetensors(c, bytes);
  else if (name.endsWith('.npz')) out = mutateNpz(c, bytes);
  else if (c.once(4)) out = mutateBytes(c, bytes);
  else if (name.endsWith('.json')) out = mutateJson(c, bytes.toString());
  else out = mutateText(c, bytes.toString());
  writeFileSync(path, out);
  return name;
}

const FLAGS = [
  ...[
    '--out',
    '--dump',
    '--list',
    '--trace-file',
    '--model',
    '--edits',
    '--covariance',
    '--contexts',
    '--check',
    '--data',
  ],
  ...[
    '--layer',
    '--steps',
    '--tokens',
    '--top',
    '--top-k',
    '--seed',
    '--count',
    '--from',
    '--every',
    '--samples',
    '--clamp',
  ],
  ...[
    '--learning-rate',
    '--kl-factor',
    '--weight-decay',
    '--method',
    '--on-collapse',
    '--weights',
    '--shard',
    '--references',
  ],
  ...[
    '--compare',
    '--offline',
    '--quiet',
    '--verbose',
    '--no-color',
    '--no-check',
    '--no-freeze',
    '--restart',
    '--resume',
    '--trace',
  ],
  ...[
    '--unknown',
    '--no-out',
    '--no-model',
    '--json=maybe',
    '--json=true',
    '--help',
    '--version',
    '--',
    '-x',
    '--overwrite',
  ],
];
const OUTPUTS = ['--out', '--dump', '--list', '--trace-file'];
const VALUES = [
  ...[
    '',
    ' ',
    '-1',
    '0',
    '1',
    '2',
    '1e15',
    '1e999',
    'NaN',
    '0x10',
    'true',
    'false',
    '{}',
    '[]',
    '*',
    '-',
    '--',
    HOSTILE.replaceAll('\0', ''),
  ],
  ...[
    'x'.repeat(50_000),
    '../out-of-here',
    '/dev/null',
    '/dev/full',
    '/proc/self/mem',
    '.',
    'tmp',
    'nowhere/at/all',
    'identity',
    'auto',
    'rome',
    'all',
  ],
  ...[
    'a.safetensors',
    'edits.json',
    'c.safetensors',
    'facts.json',
    'model',
    'model/config.json',
    'model/model.safetensors',
    'run',
    'contexts.json',
    'rome.npz',
  ],
];

const top = mkdtempSync(join(tmpdir(), 'palimpsest-fuzz-'));
process.on('exit', () => values.keep || rmSync(top, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(130));

build();
const seeds = values.seeds ?? (await makeSeeds());
process.exitCode =
  values.run === undefined ? await hunt(Number(values.minutes)) : await again(Number(values.run));

/** What the commands themselves write; kept in `.cache` for as long as the program is the same. */
async function makeSeeds(): Promise<string> {
  const hash = createHash('sha256');
  for (const path of readdirSync(join(root, 'dist'), { recursive: true, encoding: 'utf8' }).sort())
    if (path.endsWith('.js')) hash.update(readFileSync(join(root, 'dist', path)));
  const kept = join(root, '.cache', 'fuzz', hash.digest('hex').slice(0, 16));
  if (existsSync(kept)) return kept;
  rmSync(dirname(kept), { recursive: true, force: true });
  const made = join(top, 'seeds');
  mkdirSync(made);
  await writeSeeds(made);
  for (const args of SEEDS) {
    const { ended } = await judge({
      program,
      args,
      folder: made,
      env: environment(made),
      outputs: ['.'],
      wallMs: 600_000,
    });
    if (ended.code !== 0) throw new Error(`seed ${args.join(' ')}: ${ended.code} ${ended.stderr}`);
  }
  cpSync(made, kept, { recursive: true });
  return kept;
}

/** Flags and words added, doubled, left out, given other values. */
function flagged(c: Choice, args: readonly string[], one: Case): string[] {
  const out = [...args];
  for (let times = 1 + c.below(2); times > 0; times -= 1) {
    const at = 1 + c.below(out.length);
    const named = out.findIndex((word) => OUTPUTS.includes(word)) + 1;
    const kind = c.below(7);
    if (kind === 0) out.splice(at, 0, c.of(FLAGS), c.of(VALUES));
    else if (kind === 1) out.splice(at, 0, c.of(FLAGS));
    else if (kind === 2) out.splice(at, 1, c.of(VALUES));
    else if (kind === 3) out.splice(at, 1);
    else if (kind === 4) out.splice(at, 0, c.of([...one.reads, ...VALUES]));
    else if (kind === 5 && named > 0) out[named] = c.of([...one.reads, ...one.reads, ...VALUES]);
    else out.splice(at, 0, c.of(OUTPUTS), c.of([...one.reads, ...one.reads, ...VALUES]));
  }
  return out;
}

/** What flags name as a place to write to, where nothing lies yet: what is there already may not change. */
function namedOutputs(args: readonly string[], one: Case): string[] {
  const named = args.flatMap((word, i) => {
    const [, flag = '', value] = /^--(out|dump|list|trace-file)(?:=(.*))?$/s.exec(word) ?? [];
    return flag === '' ? [] : [value ?? args[i + 1] ?? ''];
  });
  const command = args[0];
  const usual = {
    sequence: 'sequence',
    apply: 'edits.json',
    revert: 'edits.json',
    paper: 'paper',
    trace: 'trace',
  };
  const more = command === 'export' ? args.slice(1) : [usual[command as keyof typeof usual] ?? ''];
  const npz = args
    .filter((word) => word.endsWith('.safetensors'))
    .map((word) => word.replace(/safetensors$/, 'npz'));
  const own = one.reads.filter((path) => !one.outputs.includes(path));
  return [...named, ...more, ...npz].filter(
    (path) =>
      path !== '' && path.length < 200 && !own.includes(path) && !['.', 'tmp', 'model'].includes(path),
  );
}

function report(number: number, { name, args, mutated, faults, ended }: Tried): string {
  const words = args
    .map((word) => (/^[\w./:=-]+$/.test(word) ? word : JSON.stringify(word.slice(0, 60))))
    .join(' ');
  const what = faults.map((fault) => JSON.stringify(fault.slice(0, 400)).slice(1, -1)).join('; ');
  const only = values.only === '' ? '' : ` --only ${values.only}`;
  return `npm run fuzz -- --seed ${seed} --run ${number}${only}   # ${name}, ${mutated.join() || 'flags'}, exit ${ended.code}: ${what} [${words}]`;
}

/** What findings have in common, so that one cause is told once or twice and counted. */
function causeOf({ name, faults }: Tried): string {
  return `${name} ${(faults[0] ?? '').replace(/\d+/g, '0').slice(0, 90)}`;
}

async function hunt(minutes: number): Promise<number> {
  const usual = new Map<string, Promise<Ended>>();
  /** What a command takes with good files, measured before the first time that something is made wrong. */
  const usually = (one: Case): Promise<Ended> => {
    const known = usual.get(one.name) ?? good(one);
    usual.set(one.name, known);
    return known;
  };
  const end = performance.now() + minutes * 60_000;
  console.log(`begins: ${cases.length} kinds of commands, seed ${seed}`);
  const codes = new Map<string, number>();
  const causes = new Map<string, number>();
  let runs = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < end) {
      const number = runs++;
      const one = caseOf(number);
      const tried = await tryCase(one, number, await usually(one));
      codes.set(`${tried.ended.code}`, (codes.get(`${tried.ended.code}`) ?? 0) + 1);
      if (tried.faults.length === 0) continue;
      const cause = causeOf(tried);
      const times = (causes.get(cause) ?? 0) + 1;
      causes.set(cause, times);
      if (times <= 2) console.log(report(number, tried));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const found = [...causes.values()].reduce((sum, n) => sum + n, 0);
  const counts = [...codes].sort().map(([code, n]) => `${n} with ${code}`);
  console.log(
    `${runs} runs in ${minutes} minutes, seed ${seed}: ${counts.join(', ')}. ${found} findings of ${causes.size} causes.`,
  );
  return found === 0 ? 0 : 1;
}

async function good(one: Case): Promise<Ended> {
  const { faults, ended } = await tryCase(one, undefined);
  if (ended.code === 0 && faults.length === 0) return ended;
  throw new Error(`${one.name} with good files: exit ${ended.code}, ${faults.join('; ')}\n${ended.stderr}`);
}

function caseOf(number: number): Case {
  return new Choice(seed, number).of(lot);
}

async function again(number: number): Promise<number> {
  const tried = await tryCase(caseOf(number), number);
  console.log(report(number, tried));
  console.log(tried.ended.stdout.slice(0, 2000), tried.ended.stderr.slice(0, 4000));
  if (values.keep) console.log(`left in ${join(top, `run-${number}`)}`);
  return tried.faults.length === 0 ? 0 : 1;
}
