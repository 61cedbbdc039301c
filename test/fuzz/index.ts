/**
 * Tries commands on files and flags that are wrong in ways that nobody thought of, and judges how they end.
 *
 *   npm run fuzz -- --minutes N [--seed S] [--only WORD]   two processes at a time; a finding is one line
 *   npm run fuzz -- --seed S --run N [--keep]              one run again; --keep leaves its folder
 *   npm run fuzz -- --minutes 0                            every command once with good files
 *
 * --seeds FOLDER takes the good files of another program, as `.cache/fuzz` has them. A run is decided by the seed and its number. Exit code 1 with a finding, 0 without.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES } from './cases.ts';
import type { Case } from './cases.ts';
import { flagged, namedOutputs } from './flags.ts';
import { withLyingHub } from './hub.ts';
import { judge } from './judge.ts';
import type { Ended, Job, Usage, Verdict } from './judge.ts';
import { mutateFile } from './mutate-files.ts';
import { levelsOf } from './mutate.ts';
import { Choice } from './random.ts';
import { hubFiles, makeSeeds } from './seeds.ts';

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
  for (const name of ['home', 'scratch', 'tmp']) mkdirSync(join(folder, name), { recursive: true });
  return {
    ...{ HOME: join(folder, 'home'), TMPDIR: join(folder, 'scratch'), XDG_CACHE_HOME: join(folder, 'xdg') },
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
/** JSON of more levels is refused wherever it is read. */
const MOST_LEVELS = 64;
const CACHES = ['cache', 'hub', 'xdg', 'hf', 'home'];
/** Where a link leads that leads to nothing. */
const DANGLING = 'nowhere';

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
  let deep = 0;
  let args = [...one.args];
  if (number !== undefined) {
    if (one.mutable.length > 0 && !c.once(4)) mutated.push(await spoil(c, folder, c.of(one.mutable)));
    if (c.once(2)) args.push('--json');
    // A hub lies, so that its command needs no wrong flags to be tried.
    if ((mutated.length === 0 && !one.hub) || c.once(5)) args = flagged(c, args, one);
    // Of a file that is read for certain: no flag keeps the command from it, and it is not made again.
    else if (mutated[0]?.endsWith('.json') && !mutated[0].startsWith('cache'))
      deep = levelsOf(readFileSync(join(folder, mutated[0]), 'utf8'));
  }
  const outputs = [...one.outputs, ...namedOutputs(args, one), ...CACHES];
  // Who names a link writes to where it leads.
  if (mutated.some((what) => outputs.some((name) => what === `${name} is dangling`))) outputs.push(DANGLING);
  const judged = async (hub?: Readonly<Record<string, string>>): Promise<Verdict> => {
    const job = { program, args, folder, env: environment(folder, hub), outputs };
    return judge(usual ? { ...job, usual } : job);
  };
  try {
    const { result, faults } = one.hub
      ? await withLyingHub(
          c,
          hubFiles(seeds, c.once(3) ? 'sharded' : 'model'),
          number === undefined ? 0 : 1 + c.below(2),
          join(folder, 'hub'),
          judged,
        )
      : { result: await judged(), faults: [] };
    const taken = deep > MOST_LEVELS && result.ended.code === 0;
    const more = taken ? [`${deep} levels of brackets were taken`] : [];
    return { name: one.name, args, mutated, ...result, faults: [...result.faults, ...faults, ...more] };
  } finally {
    if (!values.keep) rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes a file wrong, or something else of it. @param name of a file, or of a folder: then of one in it */
async function spoil(c: Choice, folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  if (statSync(path).isDirectory()) {
    const all = readdirSync(path, { recursive: true, encoding: 'utf8' }).map((file) => join(name, file));
    return spoil(c, folder, c.of(all.filter((file) => statSync(join(folder, file)).isFile()).sort()));
  }
  if (c.once(30)) {
    rmSync(path);
    const kind = c.of(['none', 'folder', 'itself', 'dangling', 'zero', 'full']);
    if (kind === 'folder') mkdirSync(path);
    else if (kind !== 'none')
      symlinkSync(
        { itself: path, dangling: DANGLING, zero: '/dev/zero', full: '/dev/full' }[kind] ?? '',
        path,
      );
    return `${name} is ${kind}`;
  }
  const bytes = new Uint8Array(readFileSync(path)); // a Buffer gives views where an array gives copies
  writeFileSync(path, await mutateFile(c, name, bytes));
  return name;
}

/** Commands that do not take good files. */
const wrong = new Set<string>();
const top = mkdtempSync(join(tmpdir(), 'palimpsest-fuzz-'));
process.on('exit', () => values.keep || rmSync(top, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(130));

build();
const jobOf = (folder: string): Omit<Job, 'args'> => ({
  ...{ program, folder, env: environment(folder), outputs: ['.'] },
});
// A copy: what lies in the cache may be made anew meanwhile.
const seeds = join(top, 'seeds');
cpSync(values.seeds ?? (await makeSeeds(root, join(top, 'made'), jobOf)), seeds, { recursive: true });
process.exitCode =
  values.run === undefined ? await hunt(Number(values.minutes)) : await again(Number(values.run));

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
  const start = performance.now();
  const end = start + minutes * 60_000;
  const progress = setInterval(() => {
    const passed = (performance.now() - start) / 60_000;
    console.log(`${runs} runs in ${passed.toFixed(1)} minutes, ${causes.size} causes of findings`);
  }, 60_000);
  const codes = new Map<string, number>();
  const causes = new Map<string, number>();
  let runs = 0;
  console.log(`begins: ${cases.length} kinds of commands, seed ${seed}`);
  if (minutes === 0) for (const one of cases) await usually(one);
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
  clearInterval(progress);
  const found = [...causes.values()].reduce((sum, n) => sum + n, 0);
  const counts = [...codes].sort().map(([code, n]) => `${n} with ${code}`);
  console.log(
    `${runs} runs in ${minutes} minutes, seed ${seed}: ${counts.join(', ')}. ${found} findings of ${causes.size} causes${wrong.size > 0 ? `, ${wrong.size} commands that do not take good files` : ''}.`,
  );
  return found + wrong.size === 0 ? 0 : 1;
}

/** What a command takes with good files; one that does not take them is told, as a finding is. */
async function good(one: Case): Promise<Ended> {
  const { faults, ended } = await tryCase(one, undefined);
  if (ended.code === 0 && faults.length === 0) return ended;
  console.log(`${one.name} with good files: exit ${ended.code}, ${faults.join('; ')}\n${ended.stderr}`);
  wrong.add(one.name);
  return ended;
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
