/** Which part of a corpus this process takes: `--shard`, alone or with what a cluster's scheduler says. */
import { UsageError } from '../errors.ts';

export interface Shard {
  /** From 0. */
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

interface Scheduled {
  readonly index: number;
  readonly of: number | undefined;
  readonly source: string;
  readonly value: string;
}

function scheduled(env: Env): Scheduled {
  const number = (name: string): number | undefined => {
    const value = env[name];
    if (value === undefined || value === '') return undefined;
    if (/^\d+$/.test(value)) return Number(value);
    throw new UsageError(`--shard auto: ${name}: expected a whole number, found "${value}".`);
  };
  const slurm = number('SLURM_ARRAY_TASK_ID');
  if (slurm !== undefined) {
    // Arrays may begin anywhere and go in steps: --array=1-8, --array=0-30:10.
    const [first, step] = [number('SLURM_ARRAY_TASK_MIN') ?? 0, number('SLURM_ARRAY_TASK_STEP') ?? 1];
    return {
      index: (slurm - first) / step,
      of: number('SLURM_ARRAY_TASK_COUNT'),
      source: 'SLURM_ARRAY_TASK_ID',
      value: String(slurm),
    };
  }
  const kubernetes = number('JOB_COMPLETION_INDEX');
  if (kubernetes !== undefined)
    return { index: kubernetes, of: undefined, source: 'JOB_COMPLETION_INDEX', value: String(kubernetes) };
  const mpi = number('OMPI_COMM_WORLD_RANK');
  if (mpi !== undefined)
    return {
      index: mpi,
      of: number('OMPI_COMM_WORLD_SIZE'),
      source: 'OMPI_COMM_WORLD_RANK',
      value: String(mpi),
    };
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
