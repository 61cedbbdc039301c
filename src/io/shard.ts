/** Which part of a corpus this process takes: `--shard`, alone or with what a cluster's scheduler says. */
import { UsageError } from '../errors.ts';

export interface Shard {
  readonly index: number;
  readonly of: number;
}

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Reads `i/n` (i from 0), `auto/n` (i from the scheduler) or `auto` (both from the scheduler).
 *
 * @throws UsageError when it is none of these, i is not below n, or the scheduler says nothing
 */
export function parseShard(text: string, env: Env): Shard {
  const match = /^(?:(\d+)\/(\d+)|auto(?:\/(\d+))?)$/.exec(text);
  if (!match) throw new UsageError(`--shard: expected i/n with i from 0, auto/n or auto, found "${text}".`);
  const [, index, of, autoOf] = match;
  if (index !== undefined) return checked(Number(index), Number(of), `--shard ${text}`);
  const found = scheduled(env);
  const count = autoOf === undefined ? found.of : Number(autoOf);
  if (count === undefined) {
    throw new UsageError(
      `--shard auto: ${found.source} does not say how many shards there are. Write --shard auto/n.`,
    );
  }
  return checked(found.index, count, `--shard ${text} with ${found.source}=${found.value}`);
}

/** How many of `tokens` a shard takes, so that all together take as many. */
export function shareOf(tokens: number, { index, of }: Shard): number {
  return Math.floor(tokens / of) + (index < tokens % of ? 1 : 0);
}

/** Variables of SLURM, Kubernetes and Open MPI: which of the processes this is, and how many there are. */
const SCHEDULERS = [
  ['SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_COUNT'],
  ['JOB_COMPLETION_INDEX', undefined],
  ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'],
] as const;

/** What the scheduler says, and where. */
function scheduled(env: Env): { index: number; of: number | undefined; source: string; value: string } {
  const number = (name: string): number | undefined => {
    const value = env[name];
    if (value === undefined || value === '') return undefined;
    if (/^\d+$/.test(value)) return Number(value);
    throw new UsageError(`--shard auto: ${name}: expected a whole number, found "${value}".`);
  };
  for (const [source, count] of SCHEDULERS) {
    const found = number(source);
    if (found === undefined) continue;
    // Arrays of SLURM may begin anywhere and go in steps: --array=1-8, --array=0-30:10.
    const isArray = source === 'SLURM_ARRAY_TASK_ID';
    const first = isArray ? (number('SLURM_ARRAY_TASK_MIN') ?? 0) : 0;
    const step = isArray ? (number('SLURM_ARRAY_TASK_STEP') ?? 1) : 1;
    const of = count === undefined ? undefined : number(count);
    return { index: (found - first) / step, of, source, value: String(found) };
  }
  throw new UsageError(
    '--shard auto: expected SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or OMPI_COMM_WORLD_RANK in the environment, found none. Write --shard i/n.',
  );
}

function checked(index: number, of: number, where: string): Shard {
  if (of >= 1 && Number.isInteger(index) && index >= 0 && index < of) return { index, of };
  throw new UsageError(
    `${where}: expected a shard from 0/${of} to ${Math.max(0, of - 1)}/${of}, it is ${index}/${of}.`,
  );
}
